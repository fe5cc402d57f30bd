"""The MoCo hot path apart from the network: momentum update, queue, InfoNCE. Variants are checked equal, then timed.

    python -m benchmarks hotpath --encoder resnet18 densenet121 --queue 4096 65536 --batch 64 256
    python -m benchmarks hotpath --quick

Expect on a CPU: the multi-tensor momentum update at a quarter to a third of the out-of-place loop's time, at the bytes
a second of a plain copy; loss and queue at K 65,536, B 256 at less than half of the time of the clone-and-concatenate
formulation, and at a tenth of its memory; enqueueing at microseconds, however it is written.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from benchmarks.hotpath.loss import measure_loss, measure_loss_and_queue
from benchmarks.hotpath.momentum import measure_momentum
from benchmarks.hotpath.queue import measure_enqueue
from benchmarks.hotpath.share import measure_share
from benchmarks.measuring.result import Comparison
from shards.base.errors import InputError


@dataclass(frozen=True, kw_only=True)
class HotpathConfig:
    """Which grid is measured."""

    encoder: tuple[Literal["resnet18", "resnet50", "densenet121"], ...] = ("resnet18", "resnet50", "densenet121")
    """Encoders for the momentum update."""
    queue: tuple[int, ...] = (1024, 4096, 16_384, 65_536, 262_144)
    """Queue sizes for loss and enqueue."""
    batch: tuple[int, ...] = (256,)
    """Batch sizes for loss and enqueue."""
    turns: int = 15
    """Turns each variant is timed."""
    compile: bool = True
    """Variants with torch.compile: half a minute of compilation each."""
    share: bool = True
    """The hot path as a share of a whole step."""
    step_encoder: Literal["resnet18", "resnet50", "densenet121"] = "resnet18"
    """Encoder of that step."""
    step_size: int = 224
    """Its views, in pixels."""
    step_batch: int | None = None
    """Its batch; default: 256 on a GPU, 16 on a CPU, where a larger one takes minutes."""
    device: str = "cpu"
    """cpu or cuda."""
    quick: bool = False
    """One encoder, one queue, nothing compiled, few turns, a step at 64 px: under a minute, for a first look."""


def run(config: HotpathConfig) -> list[Comparison]:
    """Measures the grid.

    Raises:
        InputError: a batch is larger than a queue.
    """
    if config.quick:
        config = replace(
            config,
            encoder=config.encoder[:1],
            queue=(65_536,) if config.queue == HotpathConfig().queue else config.queue[:1],
            batch=config.batch[:1],
            turns=min(config.turns, 5),
            compile=False,
            step_size=64,
            step_batch=8,
        )
    if max(config.batch) > min(config.queue):
        raise InputError(
            f"--batch {max(config.batch)}: larger than --queue {min(config.queue)}; raise the queue or lower the batch"
        )
    device, turns = torch.device(config.device), config.turns
    comparisons = [
        measure_momentum(name, turns=turns, device=device, compiles=config.compile) for name in config.encoder
    ]
    grid = [(size, batch) for size in config.queue for batch in config.batch]
    for size, batch in grid:
        comparisons += [
            measure_enqueue(size, batch, turns=turns, device=device, wraps=wraps) for wraps in (False, True)
        ]
    for size, batch in grid:
        comparisons.append(measure_loss(size, batch, turns=turns, device=device, compiles=config.compile))
        comparisons.append(measure_loss_and_queue(size, batch, turns=turns, device=device))
    if config.share:
        comparisons.append(
            measure_share(
                encoder=config.step_encoder,
                size=config.step_size,
                batch=config.step_batch or (256 if config.device == "cuda" else 16),
                queue=max(config.queue),
                turns=min(turns, 5),
                device=device,
            )
        )
    return comparisons
