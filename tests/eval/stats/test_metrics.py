"""Metrics against scikit-learn, and calibration against a plain loop over bins."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from eval.stats.metrics import auroc, reliability
from tests.eval.stats.references import average_precision, calibration_error, curve_error, sensitivity_at_specificity

TIES = pytest.mark.parametrize("decimals", [0, 1, 9], ids=["many ties", "some ties", "no ties"])


def example(decimals: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """200 labels, and scores that know a little of them."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(200) < 0.3).astype(np.float32)
    return labels, np.round(generator.normal(size=200) + labels, decimals)


@TIES
def test_auroc_and_average_precision_equal_sklearn(decimals: int) -> None:
    labels, scores = example(decimals)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


@TIES
@pytest.mark.parametrize("specificity", [0.0, 0.5, 0.9, 0.95, 1.0])
def test_sensitivity_equals_the_best_point_of_sklearns_curve(decimals: int, specificity: float) -> None:
    labels, scores = example(decimals)
    false_positives, sensitivity, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = sensitivity[false_positives <= 1 - specificity + 1e-12].max()
    assert sensitivity_at_specificity(labels, scores, specificity=specificity) == pytest.approx(expected)


def test_specificity_counts_negatives_whatever_the_rounding() -> None:
    labels = np.r_[np.zeros(50), 1]  # (1 - 0.9) * 50 is a hair under 5
    scores = np.r_[np.arange(50.0), 44.5]
    assert sensitivity_at_specificity(labels, scores, specificity=0.9) == 1.0
    assert sensitivity_at_specificity(labels, scores - 1.0 * (labels == 1), specificity=0.9) == 0.0


def test_constant_scores_know_nothing() -> None:
    labels = np.array([0, 1, 1, 0, 0])
    assert auroc(labels, np.zeros(5)) == 0.5
    assert average_precision(labels, np.zeros(5)) == pytest.approx(0.4)
    assert sensitivity_at_specificity(labels, np.zeros(5)) == 0.0


@pytest.mark.parametrize("metric", [auroc, average_precision, sensitivity_at_specificity])
@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0]])
def test_one_class_is_nan(metric, labels: list[int]) -> None:
    assert np.isnan(metric(np.array(labels), np.arange(3.0)))


def test_reliability_equals_a_loop_over_bins() -> None:
    generator = np.random.default_rng(0)
    probabilities = np.r_[generator.random(300) ** 3, 0.0, 0.25, 0.5, 1.0]
    labels = (generator.random(304) < 0.5).astype(float)
    curve = reliability(labels, probabilities, num_bins=4)
    error = 0.0
    for number, (low, high) in enumerate([(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.01)]):
        inside = (probabilities >= low) & (probabilities < high)
        assert curve.counts[number] == inside.sum()
        assert curve.mean_probability[number] == pytest.approx(probabilities[inside].mean())
        assert curve.positive_share[number] == pytest.approx(labels[inside].mean())
        error += inside.mean() * abs(probabilities[inside].mean() - labels[inside].mean())
    assert curve.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve_error(curve) == pytest.approx(error) == calibration_error(labels, probabilities, num_bins=4)


def test_empty_bins_say_nothing_and_cost_nothing() -> None:
    curve = reliability(np.array([0, 0, 1, 1]), np.full(4, 0.5))
    assert curve.counts.tolist() == [0, 0, 0, 0, 0, 4, 0, 0, 0, 0]
    assert np.isnan(curve.positive_share[0])
    assert curve_error(curve) == 0.0


def test_logits_are_no_probabilities() -> None:
    with pytest.raises(AssertionError, match="expit"):
        reliability(np.array([0, 1]), np.array([-2.0, 3.0]))
