"""No logger stops or slows a run: what fails is told once, and what does not answer is left behind."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from train.run.loggers import guarded
from train.run.loggers.contract import End
from train.run.loggers.guarded import Guarded


class Kept:
    """A logger that keeps what it is told; raises at a step, or waits for leave to go on."""

    def __init__(self, *, fails_at: int = -1, error: BaseException | None = None, leave: threading.Event | None = None):
        self.lines: list[int] = []
        self.end: End | None = None
        self.fails_at, self.error, self.leave = fails_at, error or OSError(28, "No space left on device"), leave

    def write(self, line: Mapping[str, Any]) -> None:
        if self.leave is not None:
            self.leave.wait()
        if line["step"] == self.fails_at:
            raise self.error
        self.lines.append(line["step"])

    def close(self, end: End) -> None:
        self.end = end


def run(logger: Kept, *, steps: int = 5, opening: Any = None) -> tuple[list[str], float]:
    """What is told of a run, and the longest that a line waited."""
    told: list[str] = []
    held = Guarded("wandb", opening or (lambda: logger), told.append)
    waited = 0.0
    for step in range(steps):
        start = time.perf_counter()
        held.write({"step": step, "loss": 1.0})
        waited = max(waited, time.perf_counter() - start)
    held.end("finished")
    held.wait()
    held.end("failed")
    held.wait()
    return told, waited


def test_a_logger_gets_every_line_in_order_and_one_end() -> None:
    logger = Kept()
    assert run(logger) == ([], pytest.approx(0, abs=1))
    assert logger.lines == [0, 1, 2, 3, 4]
    assert logger.end == "finished"


@pytest.mark.parametrize("error", [None, RuntimeError("no\nsuch server"), SystemExit(1), ValueError()])
def test_the_first_failure_is_told_in_one_line_and_ends_it(error: BaseException | None) -> None:
    logger = Kept(fails_at=2, error=error)
    (line,), _ = run(logger)
    assert "\n" not in line
    assert line.startswith("warning: run.log wandb: ")
    assert line.endswith("; the run goes on without it, metrics.jsonl has all")
    assert logger.lines == [0, 1]
    assert logger.end is None


def test_one_that_cannot_be_opened_is_told() -> None:
    def opening() -> Kept:
        raise RuntimeError("No API key configured. Use `wandb login` to log in.")

    (line,), _ = run(Kept(), opening=opening)
    assert "run.log wandb: No API key configured. Use `wandb login` to log in.; the run" in line


def test_what_does_not_answer_is_waited_for_at_the_end_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "_ROOM", 3)
    leave = threading.Event()
    logger = Kept(leave=leave)
    (line,), waited = run(logger, steps=20)
    assert "has not answered while 3 lines came" in line
    assert waited < 0.5
    leave.set()

    leave.clear()
    told: list[str] = []
    held = Guarded("mlflow", lambda: Kept(leave=leave), told.append)
    held.write({"step": 1})
    held.end("finished")
    held.wait(0.1)
    leave.set()
    assert ["has not taken all lines within 0 seconds of the end" in line for line in told] == [True]
