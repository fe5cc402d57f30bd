"""How OpenMP's threads wait for each other: on a quiet machine, and beside a busy loop on each core.

    python -m benchmarks waiting

GNU's OpenMP reads its settings when it is loaded, so each variant is a process of its own; they take turns, and wait
on a pipe meanwhile, without spinning. Expect a short spin to cost a few percent on a quiet machine and to gain beside
other work; and one thread, on two cores, to take twice as long as two that nobody disturbs.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring.data import PatientRows
from benchmarks.measuring.result import Comparison
from benchmarks.measuring.timing import time_variants
from benchmarks.settings import WaitingConfig
from eval.classifier.network import ImageClassifier
from shards.base.facts import num_cores
from train.encoders.build import build_encoder
from train.encoders.memory_format import in_fastest_format
from train.engine.memory import keep_freed_memory
from train.ranks.world import World, start_processes
from train.settings.config import EncoderConfig, MethodConfig, PretrainConfig, RunConfig, ScheduleConfig
from train.trainer import start_trainer

_CPU = torch.device("cpu")
_ENCODER, _SIZE, _BATCH = "resnet18", 64, 64
_DONE = "waiting: done"  # what the parent reads, since libraries print as well
_WAYS: dict[str, dict[str, str]] = {
    "300,000 spins, as OpenMP has it": {},
    "10,000 spins (trainer)": {"GOMP_SPINCOUNT": "10000"},
    "no spin (OMP_WAIT_POLICY passive)": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


def run(config: WaitingConfig) -> Iterator[Comparison]:
    """Each kind of work, by itself and beside busy loops."""
    if config.quick:
        config = replace(config, steps=1, turns=1)
    for name in _WORKS:
        with contextlib.ExitStack() as stack:
            workers = {way: stack.enter_context(_worker(name, config, own)) for way, own in _WAYS.items()}
            for beside, num_loops in (("nothing else", 0), ("a busy loop on each core", num_cores())):
                with _busy(num_loops):
                    timings = time_variants(workers, turns=config.turns, device=_CPU)
                yield Comparison(
                    title=f"Waiting threads, {name}, beside {beside}",
                    work=f"{config.steps} batches of {_BATCH} images in fp32, {_ENCODER}, {_SIZE} px",
                    rate=float(_BATCH * config.steps),
                    unit="images",
                    timings=timings,
                )


@contextlib.contextmanager
def _worker(name: str, config: WaitingConfig, own: dict[str, str]) -> Iterator[Callable[[], None]]:
    """A process that does all steps of a turn each time it is called."""
    fixed = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    words = [name, str(config.steps)]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.waiting", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=fixed | own,
        cwd=Path(__file__).parents[1],
    ) as child:

        def turn() -> None:
            assert child.stdin is not None
            assert child.stdout is not None
            print(flush=True, file=child.stdin)
            for line in child.stdout:
                if line.startswith(_DONE):
                    return
            raise RuntimeError(f"benchmarks.waiting {' '.join(words)} ended with {child.wait()}; its error is above")

        try:
            yield turn
        finally:
            child.kill()


@contextlib.contextmanager
def _busy(num_loops: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(num_loops)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _pretraining() -> Callable[[], object]:
    world = World(rank=0, size=1, local_rank=0, device=_CPU)
    start_processes(world)
    settings = PretrainConfig(
        encoder=EncoderConfig(name=_ENCODER),
        method=MethodConfig(queue_size=4096),
        schedule=ScheduleConfig(name="constant"),
        run=RunConfig(batch_size=_BATCH, precision="fp32"),
    )
    rows: Any = PatientRows(_BATCH)
    trainer = start_trainer(settings, rows, world, batches_per_epoch=1)
    views = tuple(torch.randn(2, _BATCH, 1, _SIZE, _SIZE))
    return lambda: trainer.step(views, torch.from_numpy(rows.rows))


def _features() -> Callable[[], object]:
    frozen, images = build_encoder(_ENCODER).eval(), torch.randn(_BATCH, 1, _SIZE, _SIZE)

    def forward() -> None:
        with torch.no_grad():
            frozen(in_fastest_format(images, frozen))

    return forward


def _fine_tuning() -> Callable[[], object]:
    model = ImageClassifier(build_encoder(_ENCODER), num_labels=1).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images, labels = torch.randn(_BATCH, 1, _SIZE, _SIZE), torch.rand(_BATCH, 1).round()

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(images), labels).backward()
        optimizer.step()

    return step


_WORKS = {"pretraining": _pretraining, "features": _features, "fine-tuning": _fine_tuning}


def main() -> None:
    """Does the work that the arguments name, some steps for each line of standard input."""
    name, steps = sys.argv[1:]
    keep_freed_memory()
    step = _WORKS[name]()
    for _ in sys.stdin:
        for _ in range(int(steps)):
            step()
        print(_DONE, flush=True)


if __name__ == "__main__":
    main()
