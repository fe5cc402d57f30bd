"""The pretraining step: the trainer's beside a plain formulation of the same MoCo, and where the time of a step goes.

    python -m benchmarks step --quick
    python -m benchmarks step --device cuda --size 320 --batch 256 --compile
    python -m benchmarks step --quick --profile step.json     # three steps, for chrome://tracing or ui.perfetto.dev

The plain formulation (:mod:`benchmarks.step.reference`) computes what the trainer does: on equal weights and views both
give the same loss, which is checked before anything is timed. Variants take turns on the same synthetic views; one more
takes its views from the loader, and says how long it waited. Shares are of steps synchronised at the ends of each part.

Expect on a CPU with bf16: the trainer in fp32 near the plain step, as the network takes nearly all of both, and bf16
well below. On a GPU momentum loop, logits and the position of the queue weigh more: unmeasured.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.measuring.data import build_phantom_dataset
from benchmarks.measuring.result import Comparison
from benchmarks.measuring.timing import time_variants
from benchmarks.measuring.trace import named_range, profiled
from benchmarks.settings import StepConfig
from benchmarks.step.clock import Clock, start_clocked
from benchmarks.step.reference import ReferenceStep
from pipeline.device import find_device
from pipeline.loader import build_loader
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.ranks.world import World, start_processes
from train.settings.config import EncoderConfig, MethodConfig, NormConfig, PretrainConfig, RunConfig, ScheduleConfig
from train.settings.recipes import recipe
from train.trainer import start_trainer

_PROFILED_STEPS = 3
_CHECKED_SIZE = 64  # pixels


def run(config: StepConfig) -> Iterator[Comparison]:
    """Checks and measures.

    Raises:
        InputError: the dataset has fewer images than a batch.
    """
    if config.quick:
        config = replace(config, size=64, batch=16, queue=1024, turns=3)
    world = World(rank=0, size=1, local_rank=0, device=find_device(config.device, field="--device"))
    start_processes(world)
    with tempfile.TemporaryDirectory() as folder:
        data = config.data or build_phantom_dataset(Path(folder), num_images=4 * config.batch, size=config.size)
        index = ShardIndex.open(data)
        if len(index) < config.batch:
            raise InputError(f"--batch {config.batch}: {data} has only {len(index)} images; lower it")
        yield _compare(config, index, world)
    torch.distributed.destroy_process_group()


def _compare(config: StepConfig, index: ShardIndex, world: World) -> Comparison:
    device = world.device
    generator = torch.Generator().manual_seed(0)
    views = tuple(torch.randn(2, config.batch, 1, config.size, config.size, generator=generator).to(device))
    rows = torch.from_numpy(index.rows.copy())[: config.batch]
    _check_same_loss(config, index, world, rows)

    reference = ReferenceStep(config.encoder, queue=config.queue, device=device)
    colour = tuple(view.expand(-1, 3, -1, -1).contiguous() for view in views)
    variants: dict[str, Callable[[], object]] = {"plain: 3 channels, fp32": lambda: reference(colour)}
    in_fp32 = start_trainer(_settings(config, "fp32"), index, world, batches_per_epoch=1)
    variants["trainer, fp32"] = lambda: in_fp32.step(views, rows)
    clock = Clock(device)
    mixed = start_clocked(_settings(config, "bf16"), index, world, clock=clock)
    variants["trainer, bf16"] = lambda: mixed.step(views, rows)
    if config.compile:
        compiled = start_trainer(_settings(config, "bf16", compiles=True), index, world, batches_per_epoch=1)
        variants["trainer, bf16, compiled"] = lambda: compiled.step(views, rows)
    spec = replace(recipe("moco_cxr_resnet18").views, size=config.size)
    with build_loader(index, spec, batch_size=config.batch, device=device) as loader:
        batches = itertools.chain.from_iterable(itertools.repeat(loader))

        def fed() -> None:
            with clock.part("data wait"):
                batch = next(batches)
            mixed.step(batch.views, batch.rows)

        variants["trainer, bf16, with loader"] = fed
        timings = time_variants(variants, turns=config.turns, device=device)
        waited, began = loader.wait_seconds, time.perf_counter()
        for _ in range(config.turns):
            fed()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        waits = (loader.wait_seconds - waited) / (time.perf_counter() - began)
        clock.is_on = True
        for _ in range(config.turns):
            fed()
        if config.profile is not None:
            clock.is_on, clock.names_ranges = False, True
            with profiled(config.profile):
                for number in range(_PROFILED_STEPS):
                    with named_range(f"step {number}", device):
                        fed()
    shares = _shares(clock.seconds)
    return Comparison(
        title=f"pretraining step, {config.encoder}, {config.size} px, {config.device}",
        work=f"MoCo v2, batch {config.batch}, queue {config.queue:,}, two views an image",
        rate=float(config.batch),
        unit="images",
        timings=timings,
        remarks=(
            f"trainer, bf16, with loader: {shares}, each part synchronised",
            f"the same, not synchronised: waits for data {waits:.1%} of the time",
            "plain: ready-made views, one group of batch norm, which leaks, and no DeepSpeed",
        ),
    )


def _settings(
    config: StepConfig, precision: Literal["fp32", "bf16"], *, compiles: bool = False, **norm: Any
) -> PretrainConfig:
    return PretrainConfig(
        encoder=EncoderConfig(name=config.encoder),
        method=MethodConfig(queue_size=config.queue),
        norm=NormConfig(**norm),
        schedule=ScheduleConfig(name="constant"),
        run=RunConfig(batch_size=config.batch, precision=precision, compile=compiles),
    )


def _check_same_loss(config: StepConfig, index: ShardIndex, world: World, rows: Tensor) -> None:
    """With equal weights, queue and norm, in fp32, both formulations give the same losses for two steps. On views of at
    least 64 px: of less, little but the batch is left to the last batch norms, which then blow rounding up."""
    size, generator = max(config.size, _CHECKED_SIZE), torch.Generator().manual_seed(0)
    views = tuple(torch.randn(2, config.batch, 1, size, size, generator=generator).to(world.device))
    trainer = start_trainer(_settings(config, "fp32", strategy="plain"), index, world, batches_per_epoch=1)
    reference = ReferenceStep(config.encoder, queue=config.queue, device=world.device)
    reference.take(trainer.method)
    for _ in range(2):
        ours = trainer.step(views, rows).loss.detach()
        theirs = reference(tuple(view.expand(-1, 3, -1, -1).contiguous() for view in views))
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3)


def _shares(seconds: dict[str, float]) -> str:
    total = sum(seconds.values())
    return ", ".join(f"{part} {taken / total:.1%}" for part, taken in seconds.items())
