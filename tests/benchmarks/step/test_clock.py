import pytest
import torch

from benchmarks.step.clock import Clock


def test_parts_are_charged_without_the_parts_inside_them(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 7.0])
    monkeypatch.setattr("benchmarks.step.clock.time.perf_counter", lambda: next(now))
    clock = Clock(torch.device("cpu"))
    clock.is_on = True
    with clock.part("loss and queue"), clock.part("forward"):
        pass
    assert clock.seconds["forward"] == pytest.approx(2.0)
    assert clock.seconds["loss and queue"] == pytest.approx(1.0 + 4.0)
