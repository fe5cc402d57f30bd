"""How good scores are: AUROC, average precision, sensitivity at a fixed specificity, and calibration.

Each function takes one score vector. Their values over thousands of resamples at once are in
``eval/stats/weighted.py``.

Legend: N scored items (images or studies), B bins.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.stats

Metric = Literal["auroc", "average_precision", "sensitivity", "calibration_error"]
METRICS: tuple[Metric, ...] = ("auroc", "average_precision", "sensitivity", "calibration_error")
# Sensitivity is read where at most one in ten healthy is called ill.
SPECIFICITY = 0.9
NUM_BINS = 10
# Specificities are shares of counts: 0.9 of 50 negatives must mean 45, whatever the rounding of 1 - 0.9.
ROUNDING = 1e-9


def auroc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The area under the ROC curve, as the share of (positive, negative) pairs in the right order; ties count half.

    Args:
        labels: (N,) of 0 and 1.
        scores: (N,) finite, higher for positives.

    Returns nan where one class is missing.
    """
    is_positive = np.asarray(labels) == 1
    num_positives, num_negatives = int(is_positive.sum()), int((~is_positive).sum())
    if num_positives == 0 or num_negatives == 0:
        return float("nan")
    ranks = scipy.stats.rankdata(np.asarray(scores))
    rank_sum = ranks[is_positive].sum() - num_positives * (num_positives + 1) / 2
    return float(rank_sum / (num_positives * num_negatives))


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The mean over the positives of the precision at each one's score; equal scores are taken together.

    It is the area under the precision-recall curve without interpolation. A score that knows nothing has the share of
    positives. Returns nan where one class is missing.
    """
    num_called, num_hits, num_positives, num_negatives = _calls(labels, scores)
    if num_positives == 0 or num_negatives == 0:
        return float("nan")
    gained = np.diff(num_hits, prepend=0)
    return float((gained * num_hits / num_called).sum() / num_positives)


def sensitivity_at_specificity(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, specificity: float = SPECIFICITY
) -> float:
    """The share of positives above the lowest threshold whose specificity is at least ``specificity``.

    The threshold is that of the test set itself, so this compares models; it is no promise for a threshold chosen
    elsewhere. Returns nan where one class is missing.
    """
    num_called, num_hits, num_positives, num_negatives = _calls(labels, scores)
    if num_positives == 0 or num_negatives == 0:
        return float("nan")
    is_allowed = num_called - num_hits <= (1 - specificity) * num_negatives + ROUNDING
    return float(num_hits[is_allowed].max(initial=0) / num_positives)


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """A reliability curve: in each of B bins of predicted probability the number of items, their mean predicted
    probability and the share of positives among them, (B,) each; the latter two are nan in an empty bin. ``edges``
    (B + 1,)."""

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    mean_probability: npt.NDArray[np.float64]
    positive_share: npt.NDArray[np.float64]

    def error(self) -> float:
        """The expected calibration error: the mean over the items of how far their bin's mean probability lies from its
        share of positives (Guo et al. 2017)."""
        filled = self.counts > 0
        gaps = np.abs(self.mean_probability[filled] - self.positive_share[filled])
        return float((self.counts[filled] * gaps).sum() / self.counts.sum())


def reliability(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, num_bins: int = NUM_BINS) -> Reliability:
    """The reliability curve over bins of equal width.

    Args:
        labels: (N,) of 0 and 1.
        probabilities: (N,) in [0, 1]; of logits: ``scipy.special.expit(logits)``.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    bins = probability_bins(values, num_bins)
    counts = np.bincount(bins, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            edges=np.linspace(0, 1, num_bins + 1),
            counts=counts,
            mean_probability=np.bincount(bins, values, minlength=num_bins) / counts,
            positive_share=np.bincount(bins, np.asarray(labels) == 1, minlength=num_bins) / counts,
        )


def calibration_error(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, num_bins: int = NUM_BINS) -> float:
    """The expected calibration error over bins of equal width; see :meth:`Reliability.error`.

    With few items it is above zero even for perfect probabilities, as shares in small bins scatter.
    """
    return reliability(labels, probabilities, num_bins=num_bins).error()


def probability_bins(probabilities: npt.NDArray[np.float64], num_bins: int) -> npt.NDArray[np.intp]:
    """The number of each probability's bin (N,); an edge belongs to the bin above it, 1 to the last bin."""
    assert ((probabilities >= 0) & (probabilities <= 1)).all(), "probabilities lie in [0, 1]; apply expit to logits"
    return np.minimum((probabilities * num_bins).astype(np.intp), num_bins - 1)


def _calls(
    labels: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int, int]:
    """At each distinct score as threshold, highest first: how many items are called positive and how many of them are;
    and the numbers of positives and negatives."""
    is_positive, values = np.asarray(labels) == 1, np.asarray(scores)
    order = np.argsort(-values, kind="stable")
    is_last = np.append(values[order][1:] != values[order][:-1], True)
    num_hits = np.cumsum(is_positive[order])[is_last]
    num_called = np.flatnonzero(is_last) + 1
    return num_called, num_hits, int(is_positive.sum()), int((~is_positive).sum())
