"""Results survive their file, and files that are none are refused in one line."""

import dataclasses
import json
from pathlib import Path

import pytest

from eval.results.file import FILE, find_results, load_comparison, save_comparison
from eval.results.table import Comparison
from eval.stats.interval import Interval
from shards.base.errors import InputError


def test_a_comparison_survives_its_file(comparison: Comparison, tmp_path: Path) -> None:
    path = save_comparison(comparison, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / FILE
    assert load_comparison(path) == load_comparison(path.parent) == comparison
    assert list(path.parent.iterdir()) == [path]


def test_results_of_a_run_are_found(comparison: Comparison, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(InputError, match="not evaluated yet; .* eval linear --run"):
        find_results(tmp_path)
    paths = [save_comparison(comparison, tmp_path / "eval" / name) for name in ("knn", "linear")]
    assert find_results(tmp_path) == paths
    assert find_results(paths[0].parent) == [paths[0].parent]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; give a file that"),
        ("{", "is no JSON .*; give a file that"),
        ("[1]", "is no JSON object"),
        ("{}", "format version None"),
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
    assert stored.keys() == {"format_version", "digest", *(field.name for field in dataclasses.fields(Comparison))}
    assert stored["starts"]["pretrained"]["hashes"] == ["1" * 16]
    assert stored["rows"][0]["draws"][1]["num_images"] == 12


def test_a_figure_that_is_no_number_is_not_written(comparison: Comparison, tmp_path: Path) -> None:
    nothing = Interval(estimate=float("nan"), low=0.0, high=1.0)
    broken = dataclasses.replace(comparison, rows=[dataclasses.replace(comparison.rows[0], ece=nothing)])
    with pytest.raises(ValueError, match="JSON compliant"):
        save_comparison(broken, tmp_path)
    assert not list(tmp_path.iterdir())
