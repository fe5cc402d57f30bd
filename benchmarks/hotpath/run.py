"""The MoCo hot path apart from the network: momentum update, queue, InfoNCE. Variants are checked equal, then timed.

    python -m benchmarks hotpath --encoder resnet18 densenet121 --queue 4096 65536 --batch 64 256
    python -m benchmarks hotpath --quick

Expect on a CPU: the multi-tensor momentum update at a quarter to a third of the out-of-place loop's time, at the bytes
a second of a plain copy; loss and queue at K 65,536, B 256 at less than half of the time of the clone-and-concatenate
formulation, and at a tenth of its memory; enqueueing at microseconds, however it is written.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.hotpath.loss import measure_loss, measure_loss_and_queue
from benchmarks.hotpath.momentum import measure_momentum
from benchmarks.hotpath.queue import measure_enqueue
from benchmarks.hotpath.share import measure_share
from benchmarks.measuring.result import Comparison
from benchmarks.measuring.trace import profiled
from benchmarks.settings import HotpathConfig
from pipeline.device import find_device


def run(config: HotpathConfig) -> Iterator[Comparison]:
    """Measures the grid of a resolved ``config``, one after another."""
    device, turns = find_device(config.device, field="--device"), config.turns
    for name in config.encoder:
        yield measure_momentum(name, turns=turns, device=device, compiles=config.compile)
    grid = [(size, batch) for size in config.queue for batch in config.batch]
    for size, batch in grid:
        for wraps in (False, True):
            yield measure_enqueue(size, batch, turns=turns, device=device, wraps=wraps)
    for size, batch in grid:
        yield measure_loss(size, batch, turns=turns, device=device, compiles=config.compile)
        yield measure_loss_and_queue(size, batch, turns=turns, device=device)
    if config.share:
        yield measure_share(
            encoder=config.step_encoder,
            size=config.step_size,
            batch=config.step_batch or (256 if config.device == "cuda" else 16),
            queue=max(config.queue),
            turns=min(turns, 5),
            device=device,
        )


def profile_share(config: HotpathConfig, path: Path) -> None:
    """Writes a trace of the hot path beside a whole step to ``path``, a file .json or .json.gz."""
    with profiled(path):
        measure_share(
            encoder=config.step_encoder,
            size=config.step_size,
            batch=config.step_batch or 16,
            queue=max(config.queue),
            turns=1,
            device=find_device(config.device, field="--device"),
        )
    print(f"written: {path}")
