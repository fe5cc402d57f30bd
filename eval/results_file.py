"""The file of a comparison: ``results.json`` in its folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.interval import Interval
from eval.results import (
    FILE,
    Bin,
    Comparison,
    Difference,
    DrawResult,
    InputRow,
    Row,
    StartResult,
    SubgroupRow,
    TestCounts,
)
from shards.base.atomic import written_aside
from shards.base.errors import InputError

FORMAT_VERSION = 2


def save_comparison(comparison: Comparison, folder: Path) -> Path:
    """Writes ``results.json`` into ``folder``, which is made if need be, and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"format_version": FORMAT_VERSION, **asdict(comparison)}
    with written_aside(folder / FILE) as file:
        file.write((json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return folder / FILE


def load_comparison(path: Path) -> Comparison:
    """Reads what :func:`save_comparison` wrote; ``path`` is the file or the folder around it.

    Raises:
        InputError: a missing file, one that is no result, or one of another format version.
    """
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"result {path}: no such file; write one with: python -m eval linear")
    try:
        stored = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"result {path}: not JSON; give a file that `python -m eval` wrote") from None
    version = stored.pop("format_version", None) if isinstance(stored, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"result {path}: format version {version}, but this version of moco-cxr reads {FORMAT_VERSION}; "
            "repeat the evaluation"
        )
    try:
        return Comparison(
            **stored
            | {
                "starts": {name: StartResult(**start) for name, start in stored["starts"].items()},
                "test": {label: TestCounts(**counts) for label, counts in stored["test"].items()},
                "rows": [_row(row) for row in stored["rows"]],
                "subgroups": [_subgroup(row) for row in stored["subgroups"]],
                "inputs": [InputRow(**row | {"auroc": Interval(**row["auroc"])}) for row in stored["inputs"]],
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"result {path}: damaged ({error}); repeat the evaluation") from None


def _row(stored: dict[str, Any]) -> Row:
    metrics = ("auroc", "average_precision", "sensitivity", "ece")
    difference = stored["difference"]
    return Row(
        **stored
        | {name: Interval(**stored[name]) for name in metrics}
        | {
            "draws": [DrawResult(**draw) for draw in stored["draws"]],
            "difference": None if difference is None else _difference(difference),
            "reliability": [Bin(**one) for one in stored["reliability"]],
        }
    )


def _difference(stored: dict[str, Any]) -> Difference:
    return Difference(**stored | {"auroc": Interval(**stored["auroc"]), "delong": _interval(stored["delong"])})


def _subgroup(stored: dict[str, Any]) -> SubgroupRow:
    return SubgroupRow(**stored | {name: _interval(stored[name]) for name in ("auroc", "difference")})


def _interval(stored: dict[str, float] | None) -> Interval | None:
    return None if stored is None else Interval(**stored)
