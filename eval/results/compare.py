"""From cells to a table: AUROC and other metrics of every start with intervals, and what each start gains.

All figures of one readout and fraction come from the same resamples of the test patients, for all starts and labels,
so differences are paired and means over labels are resampled as one.

Legend: S studies of the test set, D cells (draws and encoders) of a start, L labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.special

from eval.readouts.registry import READOUTS
from eval.results.table import Bin, Difference, DrawResult, Row
from eval.stats.bootstrap import Bootstrap, BootstrapTable, bootstrap_table
from eval.stats.delong import DeLong, delong
from eval.stats.folds import fold_auroc, masks
from eval.stats.interval import Interval, holm
from eval.stats.metrics import METRICS, reliability
from eval.study.cells import Cell
from eval.study.studies import Floats, ScoredStudies
from eval.words import MACRO, MICRO

Group = tuple[str, float]  # readout and fraction
# The metrics by the names that rows have for them.
_FIELDS = dict(zip(("auroc", "average_precision", "sensitivity", "ece"), METRICS, strict=True))
_MIN_FOR_DELONG = 2  # studies of a class, in each fold


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """How the figures are made."""

    num_replicates: int = 10_000
    level: float = 0.95
    specificity: float = 0.9
    seed: int = 0


def compare(
    cells: Mapping[Group, Mapping[str, Sequence[Cell]]],
    test: ScoredStudies,
    *,
    baseline: str,
    statistics: Statistics,
) -> tuple[list[Row], dict[str, int]]:
    """The rows of the table, ordered as :mod:`eval.results.table` says, and how many resamples lacked a class, by
    label.

    Args:
        cells: by readout and fraction, then by start: a cell for each draw and encoder, ordered by draw.
    """
    rows: list[Row] = []
    num_dropped: dict[str, int] = {}
    for (readout, fraction), by_start in cells.items():
        scores = {start: np.stack([test.scores(cell) for cell in several]) for start, several in by_start.items()}
        table = bootstrap_table(
            test.labels,
            scores,
            test.clusters,
            label_names=test.names,
            metrics=METRICS,
            folds=test.folds,
            num_replicates=statistics.num_replicates,
            level=statistics.level,
            seed=statistics.seed,
            specificity=statistics.specificity,
        )
        names = [MACRO, *test.names] if len(test.names) > 1 else list(test.names)
        if len(test.names) > 1 and READOUTS[readout].inputs:
            rows += _micro_rows((readout, fraction), by_start, scores, test, baseline=baseline, statistics=statistics)
        for label in names:
            of_label = None if label == MACRO else test.names.index(label)
            columns = range(len(test.names)) if of_label is None else [of_label]
            resampled = _of(table, label, "auroc")
            num_dropped[label] = max(num_dropped.get(label, 0), resampled.num_dropped)
            check = None if of_label is None else _delong(test, scores, of_label)
            for start, several in by_start.items():
                rows.append(
                    Row(
                        readout=readout,
                        fraction=fraction,
                        label=label,
                        start=start,
                        **_intervals(table, label, start),
                        draws=_draws(several, _aurocs(scores[start], test, columns), test, columns),
                        difference=_difference(resampled, check, start, baseline, statistics.level),
                        reliability=[] if of_label is None else _reliability(test, scores[start], of_label),
                    )
                )
    order = {label: number for number, label in enumerate([MACRO, MICRO, *test.names])}
    readouts = list(dict.fromkeys(row.readout for row in rows))
    rows.sort(key=lambda row: (readouts.index(row.readout), order[row.label], row.fraction))
    return _corrected(rows), num_dropped


def _micro_rows(
    group: Group,
    by_start: Mapping[str, Sequence[Cell]],
    scores: Mapping[str, Floats],
    test: ScoredStudies,
    *,
    baseline: str,
    statistics: Statistics,
) -> list[Row]:
    """The rows of all labels' studies as if of one label; their patients are resampled as everywhere."""
    known = np.isfinite(test.labels)
    clusters, folds = (np.broadcast_to(each[:, None], known.shape)[known] for each in (test.clusters, test.folds))
    table = bootstrap_table(
        test.labels[known][:, None],
        {start: values[:, known][:, :, None] for start, values in scores.items()},
        clusters,
        label_names=(MICRO,),
        metrics=METRICS,
        folds=folds,
        num_replicates=statistics.num_replicates,
        level=statistics.level,
        seed=statistics.seed,
        specificity=statistics.specificity,
    )
    resampled = _of(table, MICRO, "auroc")
    pooled = [[fold_auroc(test.labels[known], draw[known], folds) for draw in values] for values in scores.values()]
    return [
        Row(
            readout=group[0],
            fraction=group[1],
            label=MICRO,
            start=start,
            **_intervals(table, MICRO, start),
            draws=_draws(several, aurocs, test, range(len(test.names))),
            difference=_difference(resampled, None, start, baseline, statistics.level),
            reliability=[],
        )
        for (start, several), aurocs in zip(by_start.items(), pooled, strict=True)
    ]


def _of(table: BootstrapTable, label: str, field: str) -> Bootstrap:
    metric = _FIELDS[field]
    return table.macro(metric) if label == MACRO else table.of(label, metric)


def _intervals(table: BootstrapTable, label: str, start: str) -> dict[str, Interval]:
    return {field: _of(table, label, field).interval(start) for field in _FIELDS}


def _difference(
    resampled: Bootstrap, check: DeLong | None, start: str, baseline: str, level: float
) -> Difference | None:
    if start == baseline or baseline not in resampled.estimates:
        return None
    p_value = resampled.p_value(start, baseline)
    return Difference(
        against=baseline,
        auroc=resampled.difference(start, baseline),
        p_value=p_value,
        p_holm=p_value,  # until all differences are known
        delong=None if check is None else check.difference(start, baseline, level=level),
        p_delong=None if check is None else check.p_value(start, baseline),
    )


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """The rows with the p values of all their differences held against each other."""
    corrected = holm({number: row.difference.p_value for number, row in enumerate(rows) if row.difference})
    return [
        replace(row, difference=replace(row.difference, p_holm=corrected[number])) if row.difference else row
        for number, row in enumerate(rows)
    ]


def _delong(test: ScoredStudies, scores: Mapping[str, Floats], label: int) -> DeLong | None:
    """The cross-check, where there are studies enough for a variance."""
    known = np.isfinite(test.labels[:, label])
    labels = test.labels[known, label]
    counts = [(labels[fold] == kind).sum() for fold in masks(test.folds[known]) for kind in (0, 1)]
    if min(counts) < _MIN_FOR_DELONG:
        return None
    return delong(labels, {start: values[:, known, label] for start, values in scores.items()}, test.folds[known])


def _aurocs(scores: Floats, test: ScoredStudies, columns: Sequence[int]) -> list[float]:
    """The mean over some labels, of each of ``scores`` (D, S, L)."""
    return [
        float(np.mean([_auroc(test.labels[:, column], values[:, column], test.folds) for column in columns]))
        for values in scores
    ]


def _draws(
    cells: Sequence[Cell], aurocs: Sequence[float], test: ScoredStudies, columns: Sequence[int]
) -> list[DrawResult]:
    """What each draw held of some labels; ``aurocs`` belong to the cells."""
    found: dict[int, list[tuple[Cell, float]]] = {}
    for cell, value in zip(cells, aurocs, strict=True):
        found.setdefault(cell.key.draw, []).append((cell, value))
    draws = []
    for number, several in found.items():
        cell = several[0][0]
        places = [cell.labels.index(test.names[column]) for column in columns]
        draws.append(
            DrawResult(
                draw=number,
                num_patients=cell.num_patients,
                num_images=sum(cell.num_images[place] for place in places),
                num_positives=sum(cell.num_positives[place] for place in places),
                is_extended=cell.is_extended,
                auroc=[value for _, value in several],
                details={"cells": [{"seconds": round(each.seconds, 3), **each.details} for each, _ in several]},
            )
        )
    return draws


def _auroc(labels: Floats, scores: Floats, folds: npt.NDArray[np.int64]) -> float:
    known = np.isfinite(labels)
    return fold_auroc(labels[known], scores[known], folds[known])


def _reliability(test: ScoredStudies, scores: Floats, label: int) -> list[Bin]:
    known = np.isfinite(test.labels[:, label])
    values = scores[:, known, label]
    curve = reliability(np.tile(test.labels[known, label], len(values)), scipy.special.expit(values).ravel())
    return [
        Bin(num_studies=int(count), mean_probability=float(probability), positive_share=float(share))
        for count, probability, share in zip(curve.counts, curve.mean_probability, curve.positive_share, strict=True)
        if count
    ]
