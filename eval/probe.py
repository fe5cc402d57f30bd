"""One linear probe: standardised features, L2-penalised logistic regression, its strength chosen by patient.

Legend: M labelled images, N test images, F features.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from eval.stats import auroc

Floats = npt.NDArray[np.floating]

# Inverse strengths of the L2 penalty (scikit-learn's C) on standardised features, strongest penalty first.
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
DEFAULT_STRENGTH = 1e-2
_NUM_FOLDS = 5
# Newton steps converge in about five where L-BFGS needs hundreds at weak penalties.
_SOLVER = "newton-cholesky"
# Below some ten thousand images of 512 features, threads of the linear algebra wait for each other more than they work.
_SIZE_WORTH_THREADS = 5_000_000
_MIN_PATIENTS_PER_CLASS = 5 * _NUM_FOLDS


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A fitted probe: its logits (N,) on the test images, the strength used and whether cross-validation chose it."""

    scores: Floats
    strength: float
    is_cross_validated: bool


def fit_probe(
    features: Floats, labels: Floats, patients: npt.NDArray[np.int64], test_features: Floats, *, seed: int = 0
) -> Probe:
    """Fits a probe to labelled images and scores the test images.

    Means and deviations are those of the labelled images. The strength is the one with the best mean AUROC in 5-fold
    cross-validation by patient, the stronger penalty among equals; with under 25 patients of a class, whose folds
    would say little, it is ``DEFAULT_STRENGTH``.

    Args:
        features: (M, F) of the labelled images.
        labels: (M,) of 0 and 1, both present.
        patients: (M,) numbers of the patients.
        test_features: (N, F).
    """
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    # A feature that is constant in the draw has rounding noise for a deviation, and divided by it would outshout the
    # others on the test images.
    varies = deviation > 1e-6 * np.abs(mean)
    scale = np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)
    inputs, test_inputs = (features - mean) * scale, (test_features - mean) * scale
    if len(inputs) < inputs.shape[1]:
        # The weights lie in the span of the labelled images (representer theorem): in its axes the fit is the same,
        # and small.
        span = np.linalg.svd(inputs, full_matrices=False)[2]
        inputs, test_inputs = inputs @ span.T, test_inputs @ span.T
    is_cross_validated = _num_patients_of_rarer_class(labels, patients) >= _MIN_PATIENTS_PER_CLASS
    with threadpool_limits(1 if inputs.size < _SIZE_WORTH_THREADS else None, user_api="blas"):
        strength = _best_strength(inputs, labels, patients, seed=seed) if is_cross_validated else DEFAULT_STRENGTH
        model = _fit(LogisticRegression(C=strength, solver=_SOLVER), inputs, labels)
    scores = model.decision_function(test_inputs)
    return Probe(scores=scores, strength=strength, is_cross_validated=is_cross_validated)


def _num_patients_of_rarer_class(labels: Floats, patients: npt.NDArray[np.int64]) -> int:
    return min(len(np.unique(patients[labels == value])) for value in (0, 1))


def _best_strength(inputs: Floats, labels: Floats, patients: npt.NDArray[np.int64], *, seed: int) -> float:
    folds = StratifiedGroupKFold(n_splits=_NUM_FOLDS, shuffle=True, random_state=seed)
    aurocs = []  # one row a fold, one column a strength
    for fitted, held_out in folds.split(inputs, labels, patients):
        if len(np.unique(labels[fitted])) < 2:
            continue
        model = LogisticRegression(solver=_SOLVER, warm_start=True)
        logits = (
            _fit(model.set_params(C=strength), inputs[fitted], labels[fitted]).decision_function(inputs[held_out])
            for strength in STRENGTHS
        )
        aurocs.append([auroc(labels[held_out], scores) for scores in logits])
    mean_aurocs = np.nanmean(aurocs, axis=0)
    return STRENGTHS[int(np.argmax(mean_aurocs))]


def _fit(model: LogisticRegression, inputs: Floats, labels: Floats) -> LogisticRegression:
    with warnings.catch_warnings():
        # A weak penalty on separable data need not converge; the order of its scores has settled by then.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(inputs, labels)
