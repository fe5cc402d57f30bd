from dataclasses import replace

import pytest

from train.run.resumed import resumed_lines
from train.settings.config import PretrainConfig, ScheduleConfig
from train.settings.recipes import recipe
from train.trainer import Progress


def lines(step: int, *, epochs: int = 4, before: int | None = None, schedule: str = "cosine") -> list[str]:
    config = recipe("debug")
    config = replace(config, run=replace(config.run, epochs=epochs), schedule=ScheduleConfig(name=schedule))
    return told(config, step, before)


def told(config: PretrainConfig, step: int, before: int | None) -> list[str]:
    """Of 4 steps an epoch."""
    return resumed_lines(
        config,
        Progress(step=step, batch=step),
        num_steps=4 * config.run.epochs,
        epochs_before=before,
        epoch=step / 4,
        top_rate=1e-3,
    )


def test_a_new_run_says_nothing() -> None:
    assert lines(0) == lines(0, before=4) == []


def test_from_where_it_goes_on() -> None:
    assert lines(6, before=4) == ["continues from step 6 of 16 (epoch 1.5 of 4)"]


def test_a_finished_run_says_what_to_do_for_more() -> None:
    [line] = lines(16, before=4)
    assert line.startswith("finished: all 16 steps of 4 epochs are done")
    assert line.endswith("--run.epochs above 4")


@pytest.mark.parametrize(("schedule", "rates"), [("cosine", ("0.0005", "0")), ("constant", ("0.001", "0.001"))])
def test_a_longer_run_tells_its_schedule(schedule: str, rates: tuple[str, str]) -> None:
    first, second = lines(8, epochs=4, before=2, schedule=schedule)
    assert first == "continues from step 8 of 16 (epoch 2 of 4)"
    assert second.startswith(f"run.epochs 4, before: 2: from here on by the schedule of 4 epochs, {schedule}; ")
    assert second.endswith(f"learning rate {rates[0]}, where that of 2 had {rates[1]}")


def test_momentum_that_rises_is_told_as_well() -> None:
    config = recipe("debug")
    config = replace(config, run=replace(config.run, epochs=4), method=replace(config.method, momentum_end=1.0))
    assert "momentum" in told(config, 8, 2)[-1]
