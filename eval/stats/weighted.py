"""Metrics over many resamples at once: the scores are sorted once, and a resample is a weight for each patient.

For each positive it is known once and for all how many negatives score lower. So the weight of the negatives under it
is one entry of a running sum over the sorted negatives, and from those sums and the weights of the positives follow the
AUROC, the average precision and the sensitivity of a resample. The sums are of integers, so they are exact. Calibration
needs no order: it is a sum over patients in each bin.

Legend: P patients, R resamples, B calibration bins, N scored items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.special

from eval.stats.metrics import NUM_BINS, ROUNDING, SPECIFICITY, Metric, probability_bins

Counts = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
# Weights that are handled at once, four bytes each: they stay in the cache of one core.
_WEIGHTS_AT_ONCE = 1 << 17


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """One score vector, sorted.

    ``negatives`` and ``positives`` hold the patient of each item of the class, ascending by score. For each positive
    ``num_below`` is the number of negatives that score lower, ``num_not_above`` of those that score lower or equal, and
    ``first_equal`` the position of the first positive of its score. ``gaps`` (P, B) sums, over a patient's items in a
    bin of probability, label minus probability; ``num_items`` (P,) counts them.
    """

    negatives: Numbers
    positives: Numbers
    num_below: Numbers
    num_not_above: Numbers
    first_equal: Numbers
    has_ties: bool
    gaps: Floats
    num_items: Floats


def ordered(
    labels: npt.NDArray[np.floating],
    logits: npt.NDArray[np.floating],
    patients: Numbers,
    *,
    num_patients: int,
    num_bins: int = NUM_BINS,
) -> Ordered:
    """Sorts a score vector.

    Args:
        labels: (N,) of 0 and 1.
        logits: (N,) finite; calibration takes their sigmoid, everything else their order.
        patients: (N,) numbers of the patients, below ``num_patients``.
    """
    order = np.argsort(logits, kind="stable")
    values, is_positive, owners = logits[order], labels[order] == 1, patients[order]
    positives, negatives = values[is_positive], values[~is_positive]
    num_below = np.searchsorted(negatives, positives, side="left")
    num_not_above = np.searchsorted(negatives, positives, side="right")
    probabilities = scipy.special.expit(logits.astype(np.float64))
    gaps = np.zeros((num_patients, num_bins))
    np.add.at(gaps, (patients, probability_bins(probabilities, num_bins)), (labels == 1) - probabilities)
    return Ordered(
        negatives=owners[~is_positive],
        positives=owners[is_positive],
        num_below=num_below,
        num_not_above=num_not_above,
        first_equal=np.searchsorted(positives, positives, side="left"),
        has_ties=bool((num_below != num_not_above).any()),
        gaps=gaps,
        num_items=np.bincount(patients, minlength=num_patients).astype(np.float64),
    )


def weighted_metrics(
    sorted_scores: Ordered, counts: Counts, metrics: Sequence[Metric], *, specificity: float = SPECIFICITY
) -> Floats:
    """The metrics of each resample, (M, R), in the order of ``metrics``.

    ``counts`` (R, P) says how often each patient was drawn. A resample without one of the classes gives nan, in all
    metrics alike.
    """
    num_items = len(sorted_scores.negatives) + len(sorted_scores.positives)
    rows = max(1, _WEIGHTS_AT_ONCE // num_items)
    parts = [
        _metrics_of(sorted_scores, counts[first : first + rows], metrics, specificity)
        for first in range(0, len(counts), rows)
    ]
    return np.concatenate(parts, axis=1)


def _metrics_of(data: Ordered, counts: Counts, metrics: Sequence[Metric], specificity: float) -> Floats:
    positives = np.take(counts, data.positives, axis=1)  # (R, positives)
    below = _running_sums(counts, data.negatives)  # (R, negatives + 1)
    num_positives, num_negatives = positives.sum(axis=1, dtype=np.int64), below[:, -1].astype(np.int64)
    under = np.take(below, data.num_below, axis=1)  # (R, positives)
    above = below[:, -1:] - under  # negatives that score as high as the positive, or higher
    values: dict[Metric, Floats] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        if "auroc" in metrics:
            won = not_lost = _dot(positives, under)
            if data.has_ties:
                not_lost = _dot(positives, np.take(below, data.num_not_above, axis=1))
            values["auroc"] = (won + not_lost) / (2 * num_positives * num_negatives)
        if "average_precision" in metrics:
            before = _running_sums(counts, data.positives)
            hits = before[:, -1:] - np.take(before, data.first_equal, axis=1)
            # Where no item of the score or above was drawn, the positive itself was not, and any precision will do.
            precision = hits / np.maximum(hits + above, 1)
            values["average_precision"] = np.einsum("rn,rn->r", positives, precision) / num_positives
        if "sensitivity" in metrics:
            allowed = (1 - specificity) * num_negatives + ROUNDING
            values["sensitivity"] = (positives * (above <= allowed[:, None])).sum(axis=1) / num_positives
        if "calibration_error" in metrics:
            drawn = counts.astype(np.float64)
            values["calibration_error"] = np.abs(drawn @ data.gaps).sum(axis=1) / (drawn @ data.num_items)
    stacked = np.stack([values[metric] for metric in metrics])
    stacked[:, (num_positives == 0) | (num_negatives == 0)] = np.nan
    return stacked


def _running_sums(counts: Counts, patients: Numbers) -> Counts:
    """The weights of the items summed up to each, from none to all: (R, items + 1)."""
    sums = np.zeros((len(counts), len(patients) + 1), dtype=np.int32)
    np.cumsum(np.take(counts, patients, axis=1), axis=1, out=sums[:, 1:])
    return sums


def _dot(left: Counts, right: Counts) -> npt.NDArray[np.int64]:
    return np.einsum("rn,rn->r", left, right, dtype=np.int64)
