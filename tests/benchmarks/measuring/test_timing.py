import time

import torch

from benchmarks.measuring.timing import time_variants


def test_variants_take_turns_and_ratios_are_to_the_first():
    calls = []

    def variant(name, seconds):
        def call():
            calls.append(name)
            time.sleep(seconds)

        return call

    variants = {"slow": variant("slow", 0.012), "fast": variant("fast", 0.004)}
    timings = time_variants(variants, turns=5, device=torch.device("cpu"), min_seconds=0)
    assert calls[4:] == ["slow", "fast"] * 5
    assert timings["slow"].ratio == 1.0
    assert 0.2 < timings["fast"].ratio < 0.8
    assert timings["slow"].low_quartile <= timings["slow"].median <= timings["slow"].high_quartile
    assert 0.012 <= timings["slow"].median < 0.1


def test_calls_too_short_for_the_clock_are_repeated():
    counts = {"calls": 0}

    def call():
        counts["calls"] += 1
        time.sleep(0.001)

    time_variants({"short": call}, turns=2, device=torch.device("cpu"), min_seconds=0.02)
    assert counts["calls"] > 2 + 2 * 5
