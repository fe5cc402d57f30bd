"""Who calls what, and when, in a step; ``two_ranks.py`` and ``test_pretrain.py`` have the real thing."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from train.ranks.world import World
from train.settings.config import OptimizerConfig, PretrainConfig, RunConfig, ScheduleConfig
from train.trainer import Progress, Trainer

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
VIEWS, ROWS = (torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)), torch.arange(2)


class Calls(list[Any]):
    """Of a method and an engine that do nothing but take note."""

    def __init__(self, *, accumulation: int) -> None:
        super().__init__()
        self.accumulation, self.num_batches = accumulation, 0
        self.groups: list[dict[str, float]] = [{"lr": -1.0}, {"lr": -1.0}]
        self.method: Any = SimpleNamespace(
            world=WORLD,
            before_step=lambda progress: self.append(("before step", progress)),
            objective=self.objective,
            after_backward=lambda: self.append("after backward"),
        )
        self.engine: Any = SimpleNamespace(
            optimizer=SimpleNamespace(param_groups=self.groups),
            backward=lambda loss: self.append("backward"),
            is_gradient_accumulation_boundary=lambda: (self.num_batches + 1) % self.accumulation == 0,
            step=self.step,
        )

    def objective(self, forward: Any, views: Any, *, rows: Any, batch: int) -> Any:
        assert forward is self.engine
        assert views is VIEWS
        assert rows is ROWS
        self.append(("objective", batch))
        return SimpleNamespace(loss=torch.zeros(()))

    def step(self) -> None:
        self.append("step")
        self.num_batches += 1


def make(calls: Calls, **more: Any) -> Trainer:
    config = PretrainConfig(
        optimizer=OptimizerConfig(lr=0.5, scaling="linear", base_batch=8),
        schedule=ScheduleConfig(name="step", milestones=(1,), gamma=0.1),
        run=RunConfig(epochs=2, batch_size=2, gradient_accumulation=calls.accumulation),
    )
    return Trainer(config, calls.method, calls.engine, batches_per_epoch=4, **more)


def test_a_step_is_as_many_batches_as_are_accumulated() -> None:
    """The momentum copy moves once a step, the queue with each batch."""
    calls = Calls(accumulation=2)
    trainer = make(calls)
    assert trainer.is_between_steps
    ends = [(trainer.step(VIEWS, ROWS), trainer.is_between_steps, trainer.progress)[1:] for _ in range(3)]
    assert ends == [
        (False, Progress(step=0, batch=1)),
        (True, Progress(step=1, batch=2)),
        (False, Progress(step=1, batch=3)),
    ]
    batch = ["backward", "after backward", "step"]
    assert calls == [
        *(("before step", 0.0), ("objective", 0), *batch),
        *(("objective", 1), *batch),
        *(("before step", 0.25), ("objective", 2), *batch),
    ]


def test_the_learning_rate_follows_the_schedule_in_all_groups() -> None:
    """.5 for 8 images makes .125 for 2, and a tenth of it behind the first epoch, also of a resumed run."""
    calls = Calls(accumulation=1)
    trainer = make(calls)
    trainer.progress = Progress(step=2, batch=2)
    rates = []
    for _ in range(4):
        trainer.step(VIEWS, ROWS)
        assert [group["lr"] for group in calls.groups] == [trainer.lr] * 2
        rates.append(trainer.lr)
    assert rates == pytest.approx([0.125, 0.125, 0.0125, 0.0125])
    assert trainer.epoch == 1.5


def test_parts_run_where_whoever_times_them_says() -> None:
    calls = Calls(accumulation=1)

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        calls.append(f"{part} {{")
        yield
        calls.append("}")

    make(calls, timed=timed).step(VIEWS, ROWS)
    assert calls == [
        *("momentum update {", ("before step", 0.0), "}"),
        *("loss and queue {", ("objective", 0), "}"),
        *("backward {", "backward", "}"),
        *("loss and queue {", "after backward", "}"),
        *("optimiser {", "step", "}"),
    ]
