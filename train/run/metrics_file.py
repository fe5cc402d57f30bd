"""A run's ``metrics.jsonl`` read back, and the scores of its checkpoints by it."""

import json
import os
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shards.base.atomic import atomic_write
from shards.base.bounds import Count
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from shards.base.stored import parse_json, read_file
from train.settings.config import RunConfig

_REMEDY = "copy the file again, or take it away to go on without the figures so far"


@dataclass(frozen=True, kw_only=True)
class _Line:
    """What each line has, and what is no number."""

    step: Count
    warnings: dict[str, str] = field(default_factory=dict)


class CheckpointScores:
    """What tells checkpoints apart: kNN AUROC where the run measures it, else the loss.

    A score by loss is of the steps since the line before; a loss that rises while a queue fills makes it a poor one, so
    ``run.keep_best`` is best used with ``run.knn_label``.
    """

    def __init__(self, folder: Path, run: RunConfig) -> None:
        self._path = folder / "metrics.jsonl"
        self._every = run.knn_every if run.knn_label and run.keep_best else 0
        self._by_loss = not (run.knn_label and run.knn_every)

    def is_due(self, *, batch: int, batches_per_epoch: int) -> bool:
        """Whether kNN AUROC is measured behind this many batches, which then are worth a checkpoint."""
        return self._every > 0 and batch % (self._every * batches_per_epoch) == 0

    def at(self, step: int) -> float | None:
        """The score of the model behind ``step``, higher is better; None where it was not measured then."""
        score = None
        for line in read_metrics(self._path):
            if line["step"] != step:
                continue
            if self._by_loss and line.get("loss") is not None:
                score = -line["loss"]
            aurocs = [value for name, value in line.items() if name.startswith("knn_auroc/") and value is not None]
            if aurocs and not self._by_loss:
                score = sum(aurocs) / len(aurocs)
        return score


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; none where there is no such file. A last line that a kill or a loss of power cut
    off is passed over.

    Raises:
        InputError: it cannot be read, or another line is damaged.
    """
    if not os.path.lexists(path):
        return []
    try:
        *texts, last = read_file(path).rstrip(b"\0\n").split(b"\n")
    except InputError as error:
        raise InputError(f"{path}: {error}; {_REMEDY}") from None
    lines = []
    for number, text in enumerate([*texts, last], start=1):
        try:
            lines.append(_parse(text))
        except InputError as error:
            if number > len(texts):
                break
            raise InputError(f"{path}: line {number} {error}; {_REMEDY}") from None
    return lines


def _parse(text: bytes) -> dict[str, Any]:
    line = parse_json(text)
    from_written(_Line, line, unknown="ignore")
    for name, value in line.items():
        if name != "warnings" and not (value is None or type(value) in (int, float)):
            raise InputError(f"has {reprlib.repr(value)} as {name}, which is no number")
    return dict(line)


def last_values(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The newest value of each metric: kNN AUROC has lines of its own. Without warnings, which hold for the run."""
    newest: dict[str, Any] = {}
    for line in lines:
        newest |= {name: value for name, value in line.items() if name != "warnings"}
    return newest


def drop_lines_after(path: Path, step: int) -> list[dict[str, Any]]:
    """Rewrites the file without what a killed run wrote behind its checkpoint; returns what is left."""
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    atomic_write(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept
