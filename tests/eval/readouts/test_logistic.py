"""The joint solver finds what scikit-learn finds for each label and penalty alone."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from eval.readouts.logistic import fit_logistic, principal_axes

STRENGTHS = (1e-4, 1e-2, 1.0)


def features_of(num_images: int, num_features: int, *, seed: int = 0) -> np.ndarray:
    """Correlated features of very different scales, far from zero."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(num_images, num_features)) @ random.normal(size=(num_features, num_features))
    return mixed * np.logspace(-3, 3, num_features) + 5


def labels_of(features: np.ndarray, *, num_labels: int = 3, seed: int = 1) -> np.ndarray:
    """Labels of falling frequency that standardised features tell in part."""
    random = np.random.default_rng(seed)
    standard = StandardScaler().fit_transform(features)
    logits = standard @ random.normal(size=(features.shape[1], num_labels)) / np.sqrt(features.shape[1])
    return (1.5 * logits + random.logistic(size=logits.shape) > np.arange(num_labels)).astype(np.float32)


def expected_logits(features: np.ndarray, labels: np.ndarray, other: np.ndarray, strength: float) -> np.ndarray:
    known = np.isfinite(labels)
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=20_000)
    return model.fit(scaler.transform(features[known]), labels[known]).decision_function(scaler.transform(other))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("num_images", "num_features"), [(400, 30), (30, 100)])
def test_all_labels_and_penalties_are_solved_as_by_scikit_learn(
    num_images: int, num_features: int, dtype: type
) -> None:
    features, other = features_of(num_images, num_features), features_of(50, num_features, seed=3)
    labels = labels_of(features)
    labels[np.random.default_rng(2).random(labels.shape) < 0.1] = np.nan
    axes = principal_axes(torch.from_numpy(features.astype(dtype)))
    weights = fit_logistic(axes, torch.from_numpy(labels), STRENGTHS)
    assert weights.shape == (axes.values.shape[1], 3, 3)
    for label in range(3):
        for number, strength in enumerate(STRENGTHS):
            found = axes.logits(torch.from_numpy(other.astype(dtype)), weights[:, label, number : number + 1])[:, 0]
            expected = expected_logits(features, labels[:, label], other, strength)
            tolerance = 2e-3 if dtype is np.float64 else 1e-2
            np.testing.assert_allclose(found, expected, atol=tolerance * expected.std(), rtol=tolerance)


def test_separable_and_rare_labels_are_solved_too() -> None:
    features = features_of(300, 20)
    labels = np.zeros((300, 2), dtype=np.float32)
    labels[:, 0] = features[:, 0] > np.median(features[:, 0])
    labels[:2, 1] = 1  # two positives
    axes = principal_axes(torch.from_numpy(features))
    weights = fit_logistic(axes, torch.from_numpy(labels), (1e-2, 1e3))
    for label in range(2):
        logits = axes.logits(torch.from_numpy(features), weights[:, label])
        assert torch.isfinite(logits).all()
        positive = logits[labels[:, label] == 1, 1].min()
        assert positive > logits[labels[:, label] == 0, 1].max() + 5  # a weak penalty separates them widely
        expected = expected_logits(features, labels[:, label], features, 1e-2)
        np.testing.assert_allclose(logits[:, 0], expected, atol=2e-3 * expected.std(), rtol=2e-3)


def test_a_column_does_not_depend_on_the_others() -> None:
    features = features_of(200, 20)
    labels = torch.from_numpy(labels_of(features))
    axes = principal_axes(torch.from_numpy(features))
    together = fit_logistic(axes, labels, STRENGTHS)
    for label in range(3):
        alone = fit_logistic(axes, labels[:, label : label + 1], STRENGTHS[1:2])
        torch.testing.assert_close(alone[:, 0, 0], together[:, label, 1], rtol=1e-4, atol=1e-4)
