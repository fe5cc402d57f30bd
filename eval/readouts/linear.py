"""Linear probes: standardised features, L2-penalised logistic regression of all labels, one strength for all of them.

A sweep of 0.1, 1, 10 and 100 % of 191,000 images of 512 features, five draws each (one of all), takes 15 s for one
label and 28 s for 14 on two cores (``python -m benchmarks evaluation``).

Legend: M labelled images, V validation images, N test images, F features, L labels, S strengths.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from eval.readouts.contract import Floats, Integers, check_features
from eval.readouts.logistic import fit_logistic, principal_axes
from eval.stats.metrics import auroc
from eval.study.cells import Scores
from shards.base.randomness import generator

# Inverse strengths of the L2 penalty (scikit-learn's C) on standardised features, strongest penalty first.
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
DEFAULT_STRENGTH = 1e-2
_NUM_FOLDS = 5
_MIN_PATIENTS_PER_CLASS = 5 * _NUM_FOLDS
_MIN_VALID_PER_CLASS = 10
# Smaller draws are solved in double precision and in one thread: threads would wait for each other more than they work.
_LARGE = 5_000_000


def fit(
    features_train: Floats,
    labels: Floats,
    patients: Integers,
    features_valid: Floats,
    labels_valid: Floats,
    features_test: Floats,
    *,
    seed: int = 0,
    keep: Callable[[Tensor, Tensor], None] | None = None,
) -> Scores:
    """Fits a probe of each label and scores the validation and test images.

    The strength is the one with the best AUROC on the validation images, averaged over the labels of which they hold
    ten images of each class; where they do so of none, the best in 5-fold cross-validation by patient within the draw,
    over the labels with 25 patients of each class; where there is none either, folds would say little and it is
    ``DEFAULT_STRENGTH``. Among equals the stronger penalty is taken. Means and deviations are those of the draw.

    Args:
        features_train, labels, patients: (M, F), (M, L) of 0, 1 and NaN, and (M,), of the draw.
        features_valid, labels_valid: (V, F) and (V, L); V may be 0.
        features_test: (N, F).
        seed: of the folds.
        keep: is given the probe: weights (L, F) on the features as they are, and intercepts (L,), in float64.

    Raises:
        InputError: see :func:`eval.readouts.contract.check_features`.
    """
    check_features(features_train, labels, features_valid, labels_valid, features_test)
    is_used = np.isfinite(labels).any(axis=1)
    features_train, labels, patients = features_train[is_used], labels[is_used], patients[is_used]
    is_large = features_train.size > _LARGE
    inputs = torch.from_numpy(np.ascontiguousarray(features_train, dtype=np.float32 if is_large else np.float64))
    targets = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.float32))
    counts = [_num_of_rarer_class(column) for column in labels_valid.T]
    by_validation = [number for number, count in enumerate(counts) if count >= _MIN_VALID_PER_CLASS]
    by_folds = [
        number
        for number, column in enumerate(labels.T)
        if _num_of_rarer_class(column, patients) >= _MIN_PATIENTS_PER_CLASS
    ]
    details: dict[str, object] = {}
    with _threads(is_large):
        if by_validation:
            axes = principal_axes(inputs)
            fitted = fit_logistic(axes, targets, STRENGTHS)  # (R + 1, L, S)
            logits = axes.logits(_like(features_valid, inputs), fitted.flatten(1)).unflatten(1, fitted.shape[1:])
            aurocs = _aurocs(logits.numpy(), labels_valid, by_validation)
            best = int(np.argmax(aurocs))
            weights = fitted[:, :, best]
            details |= {"strength": STRENGTHS[best], "chosen_by": "validation"}
        else:
            strength, aurocs = DEFAULT_STRENGTH, None
            if by_folds:
                aurocs = _fold_aurocs(inputs, targets, patients, by_folds, seed=seed)
                strength = STRENGTHS[int(np.argmax(aurocs))]
            axes = principal_axes(inputs)
            weights = fit_logistic(axes, targets, (strength,))[:, :, 0]
            details |= {"strength": strength, "chosen_by": "folds" if by_folds else "default"}
        if aurocs is not None:
            details["auroc_by_strength"] = {
                f"{c:g}": round(float(a), 6) for c, a in zip(STRENGTHS, aurocs, strict=True)
            }
        valid_scores, test_scores = (
            axes.logits(_like(features, inputs), weights).float().numpy()
            for features in (features_valid, features_test)
        )
    if keep is not None:
        in_features, shift = axes.in_features(weights)
        keep(in_features.T, shift)
    return valid_scores, test_scores, details


def _fold_aurocs(inputs: Tensor, targets: Tensor, patients: Integers, chosen: list[int], *, seed: int) -> Floats:
    """Mean AUROC (S,) over folds of patients and over the labels ``chosen``."""
    names, numbers = np.unique(patients, return_inverse=True)
    fold = (generator("probe folds", seed).permutation(len(names)) % _NUM_FOLDS)[numbers]
    aurocs = []
    for held_out in range(_NUM_FOLDS):
        fitted, scored = fold != held_out, fold == held_out
        usable = [n for n in chosen if _num_of_rarer_class(targets[fitted, n].numpy())]
        axes = principal_axes(inputs[fitted])
        weights = fit_logistic(axes, targets[fitted][:, usable], STRENGTHS)
        logits = axes.logits(inputs[scored], weights.flatten(1)).unflatten(1, weights.shape[1:])
        aurocs.append(_aurocs(logits.numpy(), targets[scored][:, usable].numpy(), list(range(len(usable)))))
    return np.asarray(np.nanmean(aurocs, axis=0), dtype=np.float64)


def _aurocs(logits: Floats, labels: Floats, chosen: list[int]) -> Floats:
    """Mean AUROC (S,) of logits (V, L, S) over the labels ``chosen``; rounded, so that noise does not choose."""
    each = [
        [auroc(labels[is_known, number], logits[is_known, number, strength]) for strength in range(logits.shape[2])]
        for number in chosen
        for is_known in [np.isfinite(labels[:, number])]
    ]
    return np.asarray(np.round(np.nanmean(each, axis=0), 6), dtype=np.float64)


def _num_of_rarer_class(labels: Floats, patients: Integers | None = None) -> int:
    """Images, or patients, of the class that has fewer."""
    of = np.arange(len(labels)) if patients is None else patients
    return min(len(np.unique(of[labels == kind])) for kind in (0, 1))


def _like(features: Floats, inputs: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(features)).to(inputs.dtype)


@contextlib.contextmanager
def _threads(is_large: bool) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if is_large else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
