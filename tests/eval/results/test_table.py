"""Results survive their file, and files that are none are refused in one line."""

import dataclasses
import json
from pathlib import Path

import pytest

from eval.results.table import FILE, Comparison, Difference, load_comparison, save_comparison
from eval.stats.interval import Interval
from shards.base.errors import InputError


def test_a_comparison_survives_its_file(comparison: Comparison, tmp_path: Path) -> None:
    path = save_comparison(comparison, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / FILE
    assert load_comparison(path) == load_comparison(path.parent) == comparison
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[1]", "format version None"),
        ('{"format_version": 1}', "format version 1,.*repeat the evaluation"),
        ('{"format_version": 2, "command": "a"}', "damaged"),
        ('{"format_version": 2, "starts": [], "test": {}}', "damaged"),
    ],
)
def test_other_files_are_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_comparison(path)


def test_the_file_holds_what_repeating_needs(comparison: Comparison, tmp_path: Path) -> None:
    stored = json.loads(save_comparison(comparison, tmp_path).read_text())
    assert stored.keys() == {"format_version", *(field.name for field in dataclasses.fields(Comparison))}
    assert stored["starts"]["pretrained"]["hashes"] == ["1" * 16]
    assert stored["rows"][0]["draws"][1]["num_images"] == 12


def test_a_figure_that_is_no_number_is_not_written(comparison: Comparison, tmp_path: Path) -> None:
    nothing = Interval(estimate=float("nan"), low=0.0, high=1.0)
    broken = dataclasses.replace(comparison, rows=[dataclasses.replace(comparison.rows[0], ece=nothing)])
    with pytest.raises(ValueError, match="JSON compliant"):
        save_comparison(broken, tmp_path)
    assert not list(tmp_path.iterdir())


def test_rows_are_selected(comparison: Comparison) -> None:
    assert comparison.readouts == ["linear"]
    assert comparison.fractions("linear") == [0.01, 1.0]
    assert [row.fraction for row in comparison.select(start="pretrained")] == [0.01, 1.0]
    assert list(comparison.select(fraction=1.0, label="Finding", start="random")) == [comparison.rows[2]]
    assert comparison.main_label == "Finding"
    assert dataclasses.replace(comparison, labels=["Finding", "Other"]).main_label == "macro"


@pytest.mark.parametrize(
    ("estimate", "p_holm", "expected"),
    [(0.1, 0.01, "better"), (-0.1, 0.01, "worse"), (0.1, 0.05, "unclear"), (-0.1, 0.9, "unclear")],
)
def test_verdict(estimate: float, p_holm: float, expected: str) -> None:
    interval = Interval(estimate=estimate, low=estimate - 0.01, high=estimate + 0.01)
    found = Difference(against="random", auroc=interval, p_value=p_holm / 2, p_holm=p_holm)
    assert found.verdict(0.95) == expected
