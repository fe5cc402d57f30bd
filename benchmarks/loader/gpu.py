"""The loader beside a training step on the GPU: does either slow the other down?"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.loader.feeds import Feed, Setting, consume
from benchmarks.measuring.resources import cpu_seconds
from benchmarks.measuring.result import Comparison
from benchmarks.measuring.timing import time_variants
from pipeline.device import find_device
from train.encoders.build import build_encoder


def compare_beside_step(feeds: Sequence[Feed], setting: Setting, *, turns: int) -> Comparison:
    """Each feed's pass by itself, the same number of ResNet18 steps by themselves, and both together.

    A step is forward and backward of a synthetic batch of the views' shape, in bfloat16 and channels-last, for each
    batch that the feed delivers; the views are waited for on the device, not computed with. Times are synchronised.
    """
    device = find_device(setting.device)
    num_images = len(setting.index())
    step = _make_step(setting, device)
    num_steps = num_images // setting.batch

    def steps_alone() -> None:
        for _ in range(num_steps):
            step()

    variants: dict[str, Callable[[], object]] = {"ResNet18 step alone": steps_alone}
    with ExitStack() as stack:
        for feed in feeds:
            one_pass = stack.enter_context(feed.open(setting))
            consume(one_pass(), device)
            variants[f"{feed.name}, GPU otherwise idle"] = lambda one_pass=one_pass: consume(one_pass(), device)  # type: ignore[misc]
            variants[f"{feed.name}, beside the step"] = lambda one_pass=one_pass: _beside(one_pass(), step, device)  # type: ignore[misc]
        timings = time_variants(variants, turns=turns, device=device, cpu_clock=cpu_seconds)
    comparison = Comparison(
        title=f"two {setting.size} px views beside a training step, {', '.join(f.name for f in feeds)}, {device.type}",
        work=f"{num_images:,} images, batch {setting.batch}; the step: ResNet18, forward and backward, bfloat16",
        rate=float(num_images),
        unit="images",
        timings=timings,
    )
    return replace(comparison, remarks=tuple(_remarks(comparison, feeds)))


def _remarks(comparison: Comparison, feeds: Sequence[Feed]) -> Iterator[str]:
    alone = comparison.timings["ResNet18 step alone"].median
    for feed in feeds:
        idle = comparison.timings[f"{feed.name}, GPU otherwise idle"].median
        both = comparison.timings[f"{feed.name}, beside the step"].median
        yield (
            f"{feed.name}: {comparison.rate / idle:,.0f} images/s with the GPU otherwise idle; beside it the step runs "
            f"at {alone / both:.0%} of its own rate, and the two take {both / max(alone, idle):.2f} times as long as "
            "the slower one alone"
        )


def _beside(batches: Iterator[Sequence[Tensor]], step: Callable[[], None], device: torch.device) -> None:
    for views in batches:
        for view in views:
            view.to(device, non_blocking=True)
        step()


def _make_step(setting: Setting, device: torch.device) -> Callable[[], None]:
    encoder = build_encoder("resnet18").to(device).to(memory_format=torch.channels_last)
    images = torch.randn(setting.batch, 1, setting.size, setting.size, device=device)
    images = images.to(memory_format=torch.channels_last)

    def step() -> None:
        encoder.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = F.normalize(encoder(images).float(), dim=1).square().sum(dim=0).var()
        loss.backward()

    return step
