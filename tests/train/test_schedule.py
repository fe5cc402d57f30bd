import pytest

from train.schedule import learning_rate
from train.sections import ScheduleConfig


def rates(schedule: ScheduleConfig, epochs: list[float]) -> list[float]:
    return [learning_rate(schedule, lr=1.0, epoch=epoch, num_epochs=20) for epoch in epochs]


def test_step_drops_at_the_milestones_of_the_paper() -> None:
    schedule = ScheduleConfig(name="step", milestones=(12, 18), gamma=0.1)
    assert rates(schedule, [0, 11.99, 12, 17.99, 18]) == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_starts_at_the_top_and_ends_at_zero() -> None:
    assert rates(ScheduleConfig(name="cosine"), [0, 10, 20]) == pytest.approx([1, 0.5, 0])


def test_warmup_rises_linearly_and_meets_the_cosine_at_its_top() -> None:
    schedule = ScheduleConfig(name="cosine", warmup_epochs=2)
    assert rates(schedule, [0, 1, 2, 11, 20]) == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_constant() -> None:
    assert rates(ScheduleConfig(name="constant"), [0, 19]) == [1, 1]
