"""How good scores are: AUROC and calibration of one score vector. These and other metrics over thousands of resamples
at once are in ``eval/stats/weighted.py``.

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


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """A reliability curve: in each of B bins of predicted probability the number of items, their mean predicted
    probability and the share of positives among them, (B,) each; the latter two are nan in an empty bin. ``edges``
    (B + 1,)."""

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    mean_probability: npt.NDArray[np.float64]
    positive_share: npt.NDArray[np.float64]


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


def probability_bins(probabilities: npt.NDArray[np.float64], num_bins: int) -> npt.NDArray[np.intp]:
    """The number of each probability's bin (N,); an edge belongs to the bin above it, 1 to the last bin."""
    assert ((probabilities >= 0) & (probabilities <= 1)).all(), "probabilities lie in [0, 1]; apply expit to logits"
    return np.minimum((probabilities * num_bins).astype(np.intp), num_bins - 1)
