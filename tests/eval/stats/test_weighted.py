"""Metrics under weights equal scikit-learn's with sample weights, and those of a data set that repeats its items."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

import eval.stats.weighted
from eval.stats.metrics import METRICS, auroc
from eval.stats.weighted import ordered, weighted_metrics
from tests.eval.stats.references import average_precision, calibration_error, sensitivity_at_specificity

TIES = pytest.mark.parametrize("decimals", [0, 1, 9], ids=["many ties", "some ties", "no ties"])


def example(decimals: int, *, prevalence: float = 0.3):
    """Labels, scores and patients (N,), and weights (R, P) of 20 resamples."""
    generator = np.random.default_rng(0)
    labels = (generator.random(200) < prevalence).astype(np.float32)
    scores = np.round(generator.normal(size=200) + labels, decimals)
    patients = np.unique(generator.integers(70, size=200), return_inverse=True)[1]
    return labels, scores, patients, generator.integers(0, 4, size=(20, patients.max() + 1), dtype=np.int32)


@TIES
@pytest.mark.parametrize("prevalence", [0.1, 0.8])
def test_weighted_metrics_equal_sklearn_with_weights(decimals: int, prevalence: float) -> None:
    labels, scores, patients, counts = example(decimals, prevalence=prevalence)
    data = ordered(labels, scores, patients, num_patients=counts.shape[1])
    fast = weighted_metrics(data, counts, ("sensitivity", "auroc", "average_precision"), specificity=0.8)
    for row, (sensitivity, area, precision) in zip(counts, fast.T, strict=True):
        weights = {"sample_weight": row[patients]}
        assert area == pytest.approx(roc_auc_score(labels, scores, **weights), abs=1e-12)
        assert precision == pytest.approx(average_precision_score(labels, scores, **weights), abs=1e-12)
        false_positives, true_positives, _ = roc_curve(labels, scores, drop_intermediate=False, **weights)
        assert sensitivity == pytest.approx(true_positives[false_positives <= 0.2 + 1e-12].max(), abs=1e-12)


@TIES
def test_weighted_metrics_equal_those_of_repeated_items(decimals: int) -> None:
    labels, scores, patients, counts = example(decimals)
    data = ordered(labels, scores, patients, num_patients=counts.shape[1], num_bins=7)
    fast = weighted_metrics(data, counts, METRICS)
    for row, values in zip(counts, fast.T, strict=True):
        items = np.repeat(np.arange(200), row[patients])
        assert values.tolist() == pytest.approx(
            [
                auroc(labels[items], scores[items]),
                average_precision(labels[items], scores[items]),
                sensitivity_at_specificity(labels[items], scores[items]),
                calibration_error(labels[items], expit(scores[items]), num_bins=7),
            ],
            abs=1e-12,
        )


def test_resamples_handled_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores, patients, counts = example(1)
    data = ordered(labels, scores, patients, num_patients=counts.shape[1])
    whole = weighted_metrics(data, counts, METRICS)
    for at_once in (1, 600):  # one resample at a time, and three
        monkeypatch.setattr(eval.stats.weighted, "_WEIGHTS_AT_ONCE", at_once)
        np.testing.assert_allclose(weighted_metrics(data, counts, METRICS), whole, rtol=1e-14)


def test_a_resample_of_one_class_is_nan_in_all_metrics() -> None:
    data = ordered(np.array([0.0, 1, 0]), np.array([0.1, 0.2, 0.3]), np.arange(3), num_patients=3)
    values = weighted_metrics(data, np.array([[1, 0, 2], [0, 3, 0], [1, 1, 1]], dtype=np.int32), METRICS)
    assert np.isnan(values[:, :2]).all()
    assert np.isfinite(values[:, 2]).all()
