"""DeLong's variance of AUROCs and test of their difference: a check on the bootstrap by another road.

Computed from midranks (Sun and Xu 2014, "Fast Implementation of DeLong's Algorithm"), so in the time of a sort. It
takes the scored items for independent: where patients have several, its intervals are too narrow, and those of the
bootstrap over patients hold.

Legend: N scored items, D label draws, K models.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from eval.stats.folds import masks
from eval.stats.interval import Interval
from shards.base.errors import InputError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DeLong:
    """AUROCs of K models on the same items, means over each model's label draws, and their covariance (K, K)."""

    models: tuple[str, ...]
    aurocs: Floats
    covariance: Floats

    def interval(self, model: str, *, level: float = 0.95) -> Interval:
        """The normal interval of one model's AUROC, kept within 0 and 1."""
        number = self.models.index(model)
        margin = _margin(level, self.covariance[number, number])
        estimate = float(self.aurocs[number])
        return Interval(estimate=estimate, low=max(0.0, estimate - margin), high=min(1.0, estimate + margin))

    def difference(self, model: str, baseline: str, *, level: float = 0.95) -> Interval:
        """The normal interval of ``model`` minus ``baseline``."""
        estimate, variance = self._contrast(model, baseline)
        margin = _margin(level, variance)
        return Interval(estimate=estimate, low=estimate - margin, high=estimate + margin)

    def p_value(self, model: str, baseline: str) -> float:
        """The two-sided p value of "both AUROCs are the same"; 1 for models that rank all items alike."""
        estimate, variance = self._contrast(model, baseline)
        if variance == 0:
            return float(estimate == 0)
        return float(2 * scipy.stats.norm.sf(abs(estimate) / math.sqrt(variance)))

    def _contrast(self, model: str, baseline: str) -> tuple[float, float]:
        weights = np.zeros(len(self.models))
        weights[self.models.index(model)] += 1
        weights[self.models.index(baseline)] -= 1
        # Rounding may leave a variance of nothing a hair beside zero.
        variance = float(weights @ self.covariance @ weights)
        scale = float(np.abs(weights) @ np.diag(self.covariance))
        return float(weights @ self.aurocs), variance if variance > 1e-12 * scale else 0.0


def delong(
    labels: npt.NDArray[np.floating],
    scores: Mapping[str, npt.NDArray[np.floating]],
    folds: npt.NDArray[np.int64] | None = None,
) -> DeLong:
    """AUROCs and their covariance by DeLong's method.

    The mean over label draws is treated as it is: what an item adds to the mean AUROC is the mean of what it adds to
    each draw's.

    Args:
        labels: (N,) of 0 and 1.
        scores: for each model (D, N): one row a label draw; D may differ between models.
        folds: (N,) tells the models of cross-validation apart. The AUROC is then the mean of theirs, weighed by
            positives (:func:`eval.stats.folds.fold_auroc`), and its variance that of a sum of independent ones.

    Raises:
        InputError: under two items of a class, in any fold.
    """
    labels = np.asarray(labels)
    chosen = [np.ones(len(labels), dtype=bool)] if folds is None else masks(folds)
    weights = [float((labels[fold] == 1).sum() / (labels == 1).sum()) for fold in chosen]
    each = [
        _of_fold(labels[fold] == 1, {name: np.atleast_2d(draws)[:, fold] for name, draws in scores.items()})
        for fold in chosen
    ]
    return DeLong(
        models=tuple(scores),
        aurocs=np.sum([weight * aurocs for weight, (aurocs, _) in zip(weights, each, strict=True)], axis=0),
        covariance=np.sum(
            [weight**2 * covariance for weight, (_, covariance) in zip(weights, each, strict=True)], axis=0
        ),
    )


def _of_fold(
    is_positive: npt.NDArray[np.bool_], scores: Mapping[str, npt.NDArray[np.floating]]
) -> tuple[Floats, Floats]:
    """AUROCs (K,) of the models on the items of one fold, and their covariance (K, K)."""
    num_positives, num_negatives = int(is_positive.sum()), int((~is_positive).sum())
    if min(num_positives, num_negatives) < 2:
        raise InputError(
            f"labels: {num_positives} of {len(is_positive)} are positive, but a variance needs two of each class; "
            "choose another test split or label"
        )
    # Of each positive the share of negatives it beats, and of each negative the share of positives that beat it.
    by_positive, by_negative = np.empty((len(scores), num_positives)), np.empty((len(scores), num_negatives))
    for number, values in enumerate(scores.values()):
        ranks = scipy.stats.rankdata(values, axis=1)
        positive_ranks = scipy.stats.rankdata(values[:, is_positive], axis=1)
        negative_ranks = scipy.stats.rankdata(values[:, ~is_positive], axis=1)
        by_positive[number] = (ranks[:, is_positive] - positive_ranks).mean(axis=0) / num_negatives
        by_negative[number] = 1 - (ranks[:, ~is_positive] - negative_ranks).mean(axis=0) / num_positives
    covariance = np.atleast_2d(np.cov(by_positive)) / num_positives + np.atleast_2d(np.cov(by_negative)) / num_negatives
    return by_positive.mean(axis=1), covariance


def _margin(level: float, variance: float) -> float:
    return float(scipy.stats.norm.ppf((1 + level) / 2) * math.sqrt(variance))
