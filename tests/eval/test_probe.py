"""The probe learns what is there and nothing else, and never looks at the test images."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from eval.probe import DEFAULT_STRENGTH, STRENGTHS, fit_probe
from eval.stats import auroc, bootstrap


def features_of(labels: np.ndarray, *, seed: int, num_features: int = 24, signal: float = 0.8) -> np.ndarray:
    """Features of very different scales, a quarter of which carry the label."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(len(labels), num_features))
    noise[:, : num_features // 4] += signal * labels[:, None]
    return (noise * np.logspace(-3, 3, num_features) + 5).astype(np.float32)


def balanced(num_items: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(num_items) % 2).astype(np.float32)


@pytest.mark.parametrize(("num_labelled", "is_cross_validated"), [(16, False), (300, True)])
def test_informative_features_are_found(num_labelled: int, is_cross_validated: bool) -> None:
    labels, test_labels = balanced(num_labelled, 1), balanced(400, 2)
    probe = fit_probe(features_of(labels, seed=3), labels, np.arange(num_labelled), features_of(test_labels, seed=4))
    assert auroc(test_labels, probe.scores) > (0.85 if is_cross_validated else 0.65)
    assert probe.is_cross_validated == is_cross_validated
    assert probe.strength in (STRENGTHS if is_cross_validated else (DEFAULT_STRENGTH,))


def test_label_noise_lowers_but_does_not_undo_the_probe() -> None:
    labels, test_labels = balanced(600, 1), balanced(400, 2)
    features = features_of(labels, seed=3)
    noisy = np.where(np.random.default_rng(0).random(600) < 0.25, 1 - labels, labels)
    clean, noised = (
        auroc(test_labels, fit_probe(features, y, np.arange(600), features_of(test_labels, seed=4)).scores)
        for y in (labels, noisy)
    )
    assert 0.8 < noised < clean


def test_random_labels_give_chance() -> None:
    labels, test_labels = balanced(300, 1), balanced(400, 2)
    draws = [
        fit_probe(
            features_of(labels, seed=seed, signal=0.0),
            labels,
            np.arange(300),
            features_of(test_labels, seed=9, signal=0.0),
        ).scores
        for seed in range(3)
    ]
    interval = bootstrap(test_labels, {"probe": np.stack(draws)}, np.arange(400)).interval("probe")
    assert not interval.excludes(0.5)


def test_strength_is_chosen_by_patient_not_by_image() -> None:
    """Features that all but name the patient: folds by image would reward the weakest penalty for knowing them."""
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(80), 10)
    labels = balanced(80, 1)[patients]
    identity = generator.normal(size=(80, 60))
    features = (identity[patients] + 0.3 * generator.normal(size=(800, 60))).astype(np.float32)
    features[:, 0] += 1.5 * labels
    by_image = fit_probe(features, labels, np.arange(800), features)
    by_patient = fit_probe(features, labels, patients, features)
    assert by_image.strength == STRENGTHS[-1]
    assert by_patient.is_cross_validated
    assert by_patient.strength < by_image.strength


def test_features_that_do_not_vary_in_the_draw_are_left_out() -> None:
    labels, test_labels = balanced(100, 1), balanced(100, 2)
    features, test_features = features_of(labels, seed=3), features_of(test_labels, seed=4)
    constant = np.full((100, 1), 0.1, dtype=np.float32)
    wild = np.random.default_rng(0).normal(size=(100, 1)).astype(np.float32)
    plain = fit_probe(features, labels, np.arange(100), test_features)
    padded = fit_probe(np.hstack([features, constant]), labels, np.arange(100), np.hstack([test_features, wild]))
    np.testing.assert_allclose(padded.scores, plain.scores, rtol=1e-3, atol=1e-3)


def test_same_seed_same_probe() -> None:
    labels, features = balanced(200, 1), features_of(balanced(200, 1), seed=3)
    first, second = (fit_probe(features, labels, np.arange(200), features, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)


def test_fewer_images_than_features_are_fitted_as_by_scikit_learn() -> None:
    random = np.random.default_rng(0)
    features, test_features = random.normal(size=(30, 100)), random.normal(size=(20, 100))
    labels = (features[:, 0] > 0).astype(float)
    probe = fit_probe(features, labels, np.arange(30), test_features)
    scaler = StandardScaler().fit(features)
    reference = LogisticRegression(C=probe.strength, tol=1e-10, max_iter=10_000).fit(scaler.transform(features), labels)
    expected = reference.decision_function(scaler.transform(test_features))
    np.testing.assert_allclose(probe.scores, expected, rtol=1e-3, atol=1e-4)
