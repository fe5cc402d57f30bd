"""ROC curves of a start from its cells: the mean over draws and encoders.

Legend: S studies, G points of the grid.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from eval.results.table import CELLS, Comparison, StartResult
from eval.stats.folds import masks
from eval.study.cells import Cell, joined, load_cell, stored_cells

Floats = npt.NDArray[np.floating]
_GRID = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Roc:
    """Sensitivity at evenly spaced shares of false positives, (G,) each, from (0, 0) to (1, 1)."""

    false_positives: Floats
    true_positives: Floats


def mean_roc(labels: Floats, scores: Sequence[Floats], folds: npt.NDArray[np.int64] | None = None) -> Roc:
    """The mean of several ROC curves over the same studies, averaged at equal specificity, and over folds by their
    positives, as their areas are.

    Args:
        labels: (S,) of 0 and 1, both present.
        scores: (S,) of each draw and encoder.
        folds: (S,) tells the models apart that have scored the studies; default: one has.
    """
    folds = np.zeros(len(labels), dtype=np.int64) if folds is None else folds
    chosen = [fold for fold in masks(folds) if {0.0, 1.0} <= set(labels[fold].tolist())]
    weights = [labels[fold].sum() for fold in chosen]
    curves = [
        np.average([_curve(labels[fold], one[fold]) for fold in chosen], axis=0, weights=weights) for one in scores
    ]
    return Roc(np.r_[0.0, _GRID], np.r_[0.0, np.mean(curves, axis=0)])


def _curve(labels: Floats, scores: Floats) -> Floats:
    false_positives, true_positives, _ = roc_curve(labels, scores, drop_intermediate=False)
    # At equal false positives the curve rises straight up; its highest point is what the threshold can reach.
    last = np.r_[false_positives[1:] != false_positives[:-1], True]
    return np.interp(_GRID, false_positives[last], true_positives[last])


def cells_of(folder: Path, comparison: Comparison, start: str, *, readout: str, fraction: float) -> Iterator[Cell]:
    """The cells of a start at one fraction: its draws and encoders. Those of other encoders that once had the name, of
    draws that are not in the results, or that lack a label of the comparison, are passed over, and draws that lack a
    fold; the folds of a draw come as one."""
    rows = comparison.select(readout=readout, fraction=fraction, start=start)
    draws = {draw.draw for row in rows for draw in row.draws}
    about: StartResult = comparison.starts[start]
    num_folds = comparison.protocol.get("folds", 0)
    pattern = re.compile(rf"{re.escape(start)}(-\d+)?")
    found: dict[tuple[str, int], list[Cell]] = {}
    for key in stored_cells(folder / CELLS):
        if key.readout != readout or key.draw not in draws or not np.isclose(key.fraction, fraction):
            continue
        if pattern.fullmatch(key.start) and key.fold in (range(1, num_folds + 1) if num_folds else [0]):
            cell = load_cell(folder / CELLS, key)
            if cell is None or not set(comparison.labels) <= set(cell.labels):
                continue
            if cell.details.get("encoder_hash", about.hashes[0]) in about.hashes:
                of_draw = found.setdefault((key.start, key.draw), [])
                of_draw.append(cell)
                if len(of_draw) == max(1, num_folds):
                    yield joined(of_draw)
