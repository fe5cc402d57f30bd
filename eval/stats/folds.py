"""Metrics of scores from several models, as cross-validation leaves them: within each model's fold, then averaged.

Scores of different models are on different scales, and the model of a fold with few positives has seen many, so that
pooled scores give too low an AUROC (Parker, Günter and Bedo 2007; Airola et al. 2011). Weighed by positives, the mean
of the folds' AUROCs is the area under the covariate-adjusted ROC curve of Janes and Pepe (2009), with the fold for the
covariate.

Legend: N scored items, M metrics, R resamples.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eval.stats.metrics import SPECIFICITY, Metric, auroc
from eval.stats.weighted import Counts, Floats, Ordered, weighted_metrics


def fold_auroc(labels: npt.ArrayLike, scores: npt.ArrayLike, folds: npt.ArrayLike) -> float:
    """The AUROC of scores from several models: the mean of the folds' AUROCs, weighed by their positives.

    So a positive is compared with the negatives that the same model scored, and with no others: scores of different
    models are on different scales. A fold that lacks a class says nothing. Of one fold it is :func:`auroc`.

    Args:
        folds: (N,) tells the models apart.
    """
    labels, scores, folds = np.asarray(labels), np.asarray(scores), np.asarray(folds)
    each = np.array([(auroc(labels[one], scores[one]), (labels[one] == 1).sum()) for one in masks(folds)])
    known = each[np.isfinite(each[:, 0])]
    return float(np.average(known[:, 0], weights=known[:, 1])) if len(known) else float("nan")


def masks(folds: npt.NDArray[np.integer]) -> list[npt.NDArray[np.bool_]]:
    """Which items, (N,), are of each fold."""
    return [folds == number for number in np.unique(folds)]


def fold_metrics(
    folds: Sequence[Ordered],
    pooled: Ordered,
    counts: Counts,
    metrics: Sequence[Metric],
    *,
    specificity: float = SPECIFICITY,
) -> Floats:
    """The metrics of each resample, (M, R), of items that several models scored: ``folds`` those of each model,
    ``pooled`` all of them.

    What depends on order is taken within each fold and averaged, weighed by the fold's positives in the resample; a
    fold that lacks a class there says nothing. Each of these metrics is a mean over positives (of the negatives below,
    of the precision at it, of whether it is found), so this is the mean over all positives, each among the items of
    its own model. Calibration is of probabilities, which need no order: it is pooled.
    """
    total, weight = np.zeros((len(metrics), len(counts))), np.zeros(len(counts))
    for fold in folds:
        values = weighted_metrics(fold, counts, metrics, specificity=specificity)
        num_positives = counts @ np.bincount(fold.positives, minlength=counts.shape[1])
        is_known = np.isfinite(values[0])  # all metrics lack the same resamples
        total += np.where(is_known, values * num_positives, 0)
        weight += np.where(is_known, num_positives, 0)
    with np.errstate(invalid="ignore"):
        means: Floats = total / weight
    if "calibration_error" in metrics:
        values = weighted_metrics(pooled, counts, ("calibration_error",), specificity=specificity)[0]
        means[list(metrics).index("calibration_error")] = np.where(weight > 0, values, np.nan)
    return means
