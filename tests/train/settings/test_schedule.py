from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from shards.base.errors import InputError
from train.settings.checks import check_config
from train.settings.config import OptimizerConfig, PretrainConfig, RunConfig, ScheduleConfig
from train.settings.schedule import describe_rate, images_per_step, learning_rate, top_rate


def rates(schedule: ScheduleConfig, epochs: list[float]) -> list[float]:
    return [learning_rate(schedule, lr=1.0, epoch=epoch, num_epochs=20) for epoch in epochs]


def test_step_drops_at_the_milestones_of_the_paper() -> None:
    schedule = ScheduleConfig(name="step", milestones=(12, 18), gamma=0.1)
    assert rates(schedule, [0, 11.99, 12, 17.99, 18]) == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_step_after_warmup() -> None:
    schedule = ScheduleConfig(name="step", milestones=(12,), gamma=0.1, warmup_epochs=4)
    assert rates(schedule, [0, 2, 4, 12]) == pytest.approx([0, 0.5, 1, 0.1])


def test_cosine_starts_at_the_top_and_ends_at_zero() -> None:
    assert rates(ScheduleConfig(name="cosine"), [0, 10, 20]) == pytest.approx([1, 0.5, 0])


def test_warmup_rises_linearly_and_meets_the_cosine_at_its_top() -> None:
    schedule = ScheduleConfig(name="cosine", warmup_epochs=2)
    assert rates(schedule, [0, 1, 2, 11, 20]) == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_nothing_falls_below_the_floor() -> None:
    cosine = ScheduleConfig(name="cosine", final_lr=0.2)
    assert rates(cosine, [0, 10, 20]) == pytest.approx([1, 0.6, 0.2])
    step = ScheduleConfig(name="step", milestones=(5, 10), final_lr=0.05)
    assert rates(step, [0, 5, 10]) == pytest.approx([1, 0.1, 0.05])


def test_constant() -> None:
    assert rates(ScheduleConfig(name="constant"), [0, 19]) == [1, 1]


def test_the_rate_follows_the_batch_by_the_rule() -> None:
    run = RunConfig(batch_size=64, gradient_accumulation=4)
    batch = images_per_step(run, world_size=4)
    assert batch == 1024
    scaled = {
        rule: top_rate(OptimizerConfig(lr=0.1, scaling=rule, base_batch=256), batch=batch)  # type: ignore[arg-type]
        for rule in ("none", "linear", "sqrt")
    }
    assert scaled == pytest.approx({"none": 0.1, "linear": 0.4, "sqrt": 0.2})


@pytest.mark.parametrize(
    ("scaling", "line"),
    [
        ("none", "learning rate 0.1 at the top of the schedule = optimizer.lr 0.1, with 1024 images a step (no"),
        (
            "linear",
            "learning rate 0.4 at the top of the schedule = optimizer.lr 0.1 x 1024 / 256 images a step (linear",
        ),
        (
            "sqrt",
            "learning rate 0.2 at the top of the schedule = optimizer.lr 0.1 x root of 1024 / 256 images a step (sqrt",
        ),
    ],
)
def test_the_line_shows_base_rule_batch_and_result(scaling: str, line: str) -> None:
    config = OptimizerConfig(lr=0.1, scaling=scaling)  # type: ignore[arg-type]
    assert describe_rate(config, batch=1024) == f"{line} scaling)"


@pytest.mark.parametrize(
    ("schedule", "optimizer", "message"),
    [
        ({"warmup_epochs": 20.0}, {}, "schedule.warmup_epochs 20: the run has 20 epochs"),
        ({"name": "step"}, {}, "schedule.milestones: none"),
        ({"final_lr": 0.2}, {"lr": 0.1}, "schedule.final_lr 0.2: above the 0.1"),
        ({"final_lr": 0.2}, {"lr": 0.1, "scaling": "linear", "base_batch": 16}, None),  # 1.6 with two ranks of 128
        ({"final_lr": -0.1}, {}, "schedule.final_lr -0.1"),
        ({}, {"base_batch": 0}, "optimizer.base_batch 0"),
        ({}, {"sgd_momentum": 1.0}, "optimizer.sgd_momentum 1.0"),
        ({}, {"trust": 0.0}, "optimizer.trust 0.0"),
    ],
)
def test_what_cannot_work_is_refused(schedule: Any, optimizer: Any, message: str | None) -> None:
    config = PretrainConfig(
        data=("a",), output=Path("run"), schedule=ScheduleConfig(**schedule), optimizer=OptimizerConfig(**optimizer)
    )
    with pytest.raises(InputError, match=message) if message else nullcontext():
        check_config(config, world_size=2)
