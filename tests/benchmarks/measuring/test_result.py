from dataclasses import replace

import pytest

from benchmarks.measuring.result import Comparison, Timing, beside_target, read_result, write_result
from shards.base.errors import InputError


def _timing(seconds):
    return Timing(median=seconds, low_quartile=0.9 * seconds, high_quartile=1.1 * seconds, speed=2 / seconds, turns=3)


def _comparison():
    timings = {"the reference": _timing(2.0), "ours": _timing(0.5)}
    return Comparison(title="views", work="images", rate=2000.0, unit="images", timings=timings)


def test_speeds_beside_another_variant_are_those_of_the_table():
    """Medians of paired ratios, not ratios of medians, which differ where the machine drifts."""
    timings = {"first": _timing(2.0), "second": replace(_timing(1.5), speed=0.95), "third": _timing(2.0)}
    comparison = replace(_comparison(), timings=timings)
    assert comparison.speedup("second", "first") == 0.95
    assert comparison.speedup("second", "third") == pytest.approx(0.95)


def test_a_target_is_said_to_be_met_or_missed():
    assert beside_target("60 %", is_met=True) == "(asked: 60 %; met)"
    assert beside_target("60 %", is_met=False) == "(asked: 60 %; missed)"


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        ({"commit": 3}, "machine: commit is 3"),
        ({"versions": [1]}, "machine: versions"),
        ({"environment": 1}, "machine: e"),
    ],
)
def test_facts_of_the_machine_are_of_their_kind(tmp_path, fact, told):
    write_result(tmp_path / "a.json", "step", {"cpu": "one", "strange": 1}, [_comparison()])
    assert read_result(tmp_path / "a.json").machine["strange"] == 1
    write_result(tmp_path / "a.json", "step", fact, [_comparison()])
    with pytest.raises(InputError, match=f"a.json: not a benchmark result, {told}.*; run the benchmark again"):
        read_result(tmp_path / "a.json")
