"""True and false positive rates of groups of the test set, at a threshold that was fixed on validation; their gaps.

A threshold that is chosen on the test set, or in each group, hides what happens when one number is used for all. So for
each draw the threshold lets the asked-for share of the negative validation studies pass, and stays. The gap of an
attribute is the largest rate of its groups less the smallest (equalised odds, Hardt et al. 2016, arXiv 1610.02413).

Legend: S scored items (studies), D draws and encoders, P patients, R resamples.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.results.compare import Statistics
from eval.results.table import SubgroupRow
from eval.stats.interval import Interval, percentile_interval
from eval.study.cells import Cell
from eval.study.studies import ScoredStudies, study_set
from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.index import ShardIndex
from shards.options import LabelPolicy

UNSTATED = frozenset({"not stated", "mixed"})
REPLICATES = 2000  # enough for intervals; no p value is taken from them
_BLOCK = 64  # resamples drawn at once


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Of one attribute: true and false positive rates' gaps between its groups, and the worst group of each: the one
    whose ill are missed most, and the one whose well are alarmed most."""

    attribute: str
    true_positive: float
    false_positive: float
    most_missed: str
    most_alarmed: str


def validation_threshold(
    cell: Cell, index: ShardIndex, label: str, *, specificity: float, uncertain: LabelPolicy
) -> float | None:
    """The score that ``specificity`` of the negative validation studies stay under; None where there are none, or where
    several folds were validated each by its own model.

    Args:
        index: of all the comparison's images.
    """
    if cell.folds is not None or not len(cell.valid_rows):
        return None
    try:
        studies = study_set(index.take(index.positions(cell.valid_rows)), label, policy=uncertain)
    except InputError:  # one class only
        return None
    scores = studies.scores_of(cell.valid_rows, cell.valid_scores[:, cell.labels.index(label)])
    return float(np.quantile(scores[studies.labels == 0], specificity, method="higher"))


def rate_interval(
    called: npt.NDArray[np.float64],
    patients: npt.NDArray[np.int64],
    *,
    num_replicates: int,
    level: float,
    seed: int,
) -> Interval | None:
    """The mean of what was called positive, with the interval of a bootstrap of patients.

    Args:
        called: (S,) of the items of one class: the share of draws that called each positive.
        patients: (S,) any values that tell patients apart.
    """
    if not len(called):
        return None
    owners = np.unique(patients, return_inverse=True)[1]
    sums, counts = np.bincount(owners, called), np.bincount(owners)
    num_patients = len(counts)
    random = generator("rates", seed)
    replicates = []
    for first in range(0, num_replicates, _BLOCK):
        size = min(_BLOCK, num_replicates - first)
        weights = random.multinomial(num_patients, np.full(num_patients, 1 / num_patients), size=size)
        replicates.append((weights @ sums) / (weights @ counts))
    return percentile_interval(float(called.mean()), np.concatenate(replicates), level=level)


def called_share(
    cells: Sequence[Cell],
    scores: npt.NDArray[np.floating],
    label: str,
    index: ShardIndex | None,
    statistics: Statistics,
    uncertain: LabelPolicy,
) -> npt.NDArray[np.float64] | None:
    """The share of the draws that call each item positive, (S,), each at its own threshold from validation; None where
    there is none."""
    if index is None:
        return None
    thresholds = [
        validation_threshold(cell, index, label, specificity=statistics.specificity, uncertain=uncertain)
        for cell in cells
    ]
    known = [threshold for threshold in thresholds if threshold is not None]
    if not known or len(known) < len(thresholds):
        return None
    return np.asarray(np.mean(scores > np.array(known)[:, None], axis=0), dtype=np.float64)


def rates(
    called: npt.NDArray[np.float64] | None,
    members: npt.NDArray[np.bool_],
    test: ScoredStudies,
    number: int,
    statistics: Statistics,
) -> dict[str, Interval | None]:
    """Both rates of a subgroup of the label at position ``number``; none without thresholds."""
    if called is None:
        return {}
    labels = test.labels[:, number]
    return {
        name: rate_interval(
            called[members & (labels == value)],
            test.clusters[members & (labels == value)],
            num_replicates=min(statistics.num_replicates, REPLICATES),
            level=statistics.level,
            seed=statistics.seed,
        )
        for name, value in (("true_positive_rate", 1), ("false_positive_rate", 0))
    }


def gaps(rows: Iterable[SubgroupRow]) -> list[Gap]:
    """The gaps of each attribute among rows of one readout, label and start; those of which fewer than two groups have
    rates are left out, and so is who states nothing."""
    by_attribute: dict[str, list[SubgroupRow]] = {}
    for row in rows:
        if row.true_positive_rate and row.false_positive_rate and row.group not in UNSTATED:
            by_attribute.setdefault(row.attribute, []).append(row)
    return [_gap(attribute, several) for attribute, several in by_attribute.items() if len(several) > 1]


def _gap(attribute: str, rows: Sequence[SubgroupRow]) -> Gap:
    found = {row.group: row.true_positive_rate.estimate for row in rows if row.true_positive_rate}
    alarmed = {row.group: row.false_positive_rate.estimate for row in rows if row.false_positive_rate}
    return Gap(
        attribute=attribute,
        true_positive=max(found.values()) - min(found.values()),
        false_positive=max(alarmed.values()) - min(alarmed.values()),
        most_missed=min(found, key=lambda group: found[group]),
        most_alarmed=max(alarmed, key=lambda group: alarmed[group]),
    )
