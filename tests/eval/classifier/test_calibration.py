"""Temperatures against scikit-learn's, thresholds by hand, and labels that have too few validation images."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from eval.classifier.calibration import LEAST, calibrate


def made(num_images: int, temperature: float, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 1) that are too sure by ``temperature``, and labels (N, 1)."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, num_images)
    labels = generator.random(num_images) < expit((logits - shift) / temperature)
    return logits[:, None].astype(np.float32), labels[:, None].astype(np.float32)


def test_temperatures_are_those_of_scikit_learn() -> None:
    """Its own takes hard targets, of which smoothed ones of many images differ little."""
    logits, labels = made(5000, 1.7)
    as_is = LogisticRegression()
    as_is.classes_, as_is.coef_, as_is.intercept_ = np.array([0, 1]), np.ones((1, 1)), np.zeros(1)
    reference = CalibratedClassifierCV(FrozenEstimator(as_is), method="temperature").fit(logits, labels[:, 0])
    found = calibrate(logits, labels)
    np.testing.assert_allclose(found.probabilities(logits)[:, 0], reference.predict_proba(logits)[:, 1], atol=2e-3)
    assert found.temperatures[0] == pytest.approx(1.7, rel=0.1)


def test_class_weights_of_the_loss_are_taken_back() -> None:
    shift = np.log(5.0)
    logits, labels = made(5000, 1.4, shift)
    found = calibrate(logits, labels, [shift])
    assert found.temperatures[0] == pytest.approx(1.4, rel=0.1)
    assert found.probabilities(logits).mean() == pytest.approx(labels.mean(), abs=0.02)
    assert calibrate(logits, labels).probabilities(logits).mean() > labels.mean() + 0.05


def test_images_that_are_told_apart_perfectly_leave_doubt() -> None:
    logits = np.repeat([-5.0, 5.0], 30)[:, None]
    found = calibrate(logits, (logits > 0).astype(np.float32))
    assert 0.9 < found.probabilities(np.array([[5.0]]))[0, 0] < 0.99


def test_labels_of_few_images_are_uncalibrated() -> None:
    logits, labels = made(100, 1.7)
    labels[:, 0] = np.nan
    labels[: LEAST - 1, 0], labels[50:90, 0] = 1, 0
    found = calibrate(logits, labels)
    assert found.temperatures == (None,)
    assert np.allclose(found.probabilities(logits), expit(logits))
    empty = calibrate(np.zeros((0, 2)), np.zeros((0, 2)))
    assert (empty.temperatures, empty.thresholds(0.9), empty.num_negatives()) == ((None, None), [None, None], [0, 0])


@pytest.mark.parametrize(("specificity", "wanted"), [(0.9, 44.0), (0.5, 24.0), (0.99, 49.0), (0.001, 0.0)])
def test_a_threshold_is_passed_by_the_share_that_was_asked_for(specificity: float, wanted: float) -> None:
    logits = np.r_[np.random.default_rng(0).permutation(50), np.full(7, 100.0), 1000.0][:, None].astype(np.float32)
    labels = np.r_[np.zeros(50), np.ones(7), np.nan][:, None].astype(np.float32)
    (threshold,) = calibrate(logits, labels).thresholds(specificity)
    assert threshold == wanted
    assert (logits[:50] <= threshold).mean() >= specificity
    assert calibrate(logits, labels).num_negatives() == [50]
