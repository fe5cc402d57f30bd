"""Metrics of one score vector, one by one: the references of those of thousands of resamples at once."""

import numpy as np
import numpy.typing as npt

from eval.stats.metrics import NUM_BINS, ROUNDING, SPECIFICITY, Reliability, reliability


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


def calibration_error(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, num_bins: int = NUM_BINS) -> float:
    """The expected calibration error over bins of equal width; see :func:`curve_error`.

    With few items it is above zero even for perfect probabilities, as shares in small bins scatter.
    """
    return curve_error(reliability(labels, probabilities, num_bins=num_bins))


def curve_error(curve: Reliability) -> float:
    """The expected calibration error: the mean over the items of how far their bin's mean probability lies from its
    share of positives (Guo et al. 2017)."""
    filled = curve.counts > 0
    gaps = np.abs(curve.mean_probability[filled] - curve.positive_share[filled])
    return float((curve.counts[filled] * gaps).sum() / curve.counts.sum())


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
