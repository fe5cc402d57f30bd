"""Turns, repeats and speeds, by a clock that only the variants move."""

import pytest
import torch

from benchmarks.measuring import timing
from benchmarks.measuring.timing import time_variants

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """Seconds that have passed; whatever else the machine does takes none."""
    passed = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: passed[0])
    return passed


def test_variants_take_turns_and_speeds_are_beside_the_first(clock):
    calls = []

    def variant(name, *seconds):
        def call():
            clock[0] += seconds[calls.count(name) % len(seconds)]
            calls.append(name)

        return call

    # After a call to warm up, the fast one takes a third, half and a quarter of the slow one's time.
    variants = {"slow": variant("slow", 12.0), "fast": variant("fast", 4.0, 4.0, 6.0, 3.0)}
    timings = time_variants(variants, turns=3, device=CPU, min_seconds=0)
    assert calls[-6:] == ["slow", "fast"] * 3
    assert timings["slow"].speed == 1.0
    assert timings["fast"].speed == pytest.approx(3.0)
    assert timings["fast"].speed_low_quartile == pytest.approx(2.5)
    assert timings["fast"].speed_high_quartile == pytest.approx(3.5)
    assert timings["fast"].median == pytest.approx(4.0)


def test_calls_too_short_for_the_clock_are_repeated(clock):
    calls = []

    def call():
        clock[0] += 0.001
        calls.append(clock[0])

    timings = time_variants({"short": call}, turns=2, device=CPU, min_seconds=0.0205)
    assert len(calls) == 2 + 2 * 20
    assert timings["short"].median == pytest.approx(0.001)
