"""AUROC against scikit-learn, the bootstrap against a plain loop, and the interval's coverage by simulation."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from eval.stats import Interval, auroc, bootstrap, resamples, segments, weighted_auroc
from shards.errors import InputError


def example(num_items: int = 200, *, num_patients: int = 70, decimals: int = 1, seed: int = 0):
    """Labels, tied scores (3, N) of three draws, and patients."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(num_items) < 0.3).astype(np.float32)
    scores = np.round(generator.normal(size=(3, num_items)) + labels, decimals)
    return labels, scores, generator.integers(num_patients, size=num_items)


@pytest.mark.parametrize("decimals", [0, 1, 9], ids=["many ties", "some ties", "no ties"])
def test_auroc_equals_sklearn(decimals: int) -> None:
    labels, scores, _ = example(decimals=decimals)
    assert auroc(labels, scores[0]) == pytest.approx(roc_auc_score(labels, scores[0]), abs=1e-12)


def test_auroc_of_constant_scores_is_half_and_of_one_class_nan() -> None:
    assert auroc(np.array([0, 1, 1]), np.zeros(3)) == 0.5
    assert np.isnan(auroc(np.ones(3), np.arange(3)))


@pytest.mark.parametrize("decimals", [0, 1, 9], ids=["many ties", "some ties", "no ties"])
def test_weighted_auroc_equals_sklearn_with_weights(decimals: int) -> None:
    labels, scores, patients = example(decimals=decimals)
    patients = np.unique(patients, return_inverse=True)[1]
    counts = np.random.default_rng(1).integers(0, 4, size=(patients.max() + 1, 5))
    fast = weighted_auroc(segments(labels, scores[0], patients), counts)
    slow = [roc_auc_score(labels, scores[0], sample_weight=column[patients]) for column in counts.T]
    np.testing.assert_allclose(fast, slow, atol=1e-12)


def test_bootstrap_equals_a_loop_over_the_same_resamples() -> None:
    labels, scores, patients = example(decimals=1)
    other = scores[:2] + 0.5 * labels
    result = bootstrap(labels, {"a": scores, "b": other}, patients, num_replicates=130, seed=3)
    names = np.unique(patients)
    loop = []
    for counts in np.concatenate(list(resamples(len(names), 130, 3))):
        drawn = np.repeat(names, counts)
        items = np.concatenate([np.flatnonzero(patients == name) for name in drawn])
        loop.append([np.mean([roc_auc_score(labels[items], s[items]) for s in draws]) for draws in (scores, other)])
    a, b = np.array(loop).T
    np.testing.assert_allclose(result.replicates["a"], a, atol=1e-12)
    np.testing.assert_allclose(result.replicates["b"], b, atol=1e-12)
    difference = result.difference("b", "a")
    assert [difference.low, difference.high] == pytest.approx(np.quantile(b - a, [0.025, 0.975]))
    assert difference.estimate == pytest.approx(result.interval("b").estimate - result.interval("a").estimate)
    assert result.interval("a").estimate == pytest.approx(np.mean([roc_auc_score(labels, s) for s in scores]))


def test_resamples_draw_whole_patients_alike_for_a_seed() -> None:
    counts = np.concatenate(list(resamples(30, 100, 5)))
    assert counts.shape == (100, 30)
    assert (counts.sum(axis=1) == 30).all()
    np.testing.assert_array_equal(counts, np.concatenate(list(resamples(30, 100, 5))))
    assert (counts != np.concatenate(list(resamples(30, 100, 6)))).any()
    assert len(np.unique(counts, axis=0)) == 100


def test_paired_difference_of_equal_models_is_exactly_zero() -> None:
    labels, scores, patients = example()
    difference = bootstrap(labels, {"a": scores, "b": scores.copy()}, patients).difference("b", "a")
    assert (difference.estimate, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert not difference.excludes(0.0)


def test_resamples_of_one_class_are_dropped_and_counted() -> None:
    labels = np.array([1, 0, 0, 0, 0, 0])
    result = bootstrap(labels, {"a": np.arange(6.0)[None]}, np.arange(6), num_replicates=2000, seed=0)
    expected = 2000 * ((5 / 6) ** 6 + (1 / 6) ** 6)
    assert abs(result.num_dropped - expected) < 4 * np.sqrt(expected)
    assert len(result.replicates["a"]) == 2000 - result.num_dropped
    assert np.isfinite(result.replicates["a"]).all()


def test_one_class_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="0 of 4 are positive"):
        bootstrap(np.zeros(4), {"a": np.arange(4.0)[None]}, np.arange(4))


def test_clustered_interval_is_wider_than_one_that_takes_images_for_patients() -> None:
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 8)
    labels = (patients % 2).astype(float)
    scores = (labels + np.repeat(generator.normal(size=60), 8) + 0.1 * generator.normal(size=480))[None]
    clustered = bootstrap(labels, {"a": scores}, patients).interval("a")
    naive = bootstrap(labels, {"a": scores}, np.arange(480)).interval("a")
    assert clustered.high - clustered.low > 2 * (naive.high - naive.low)


def test_interval_excludes() -> None:
    assert Interval(estimate=0.1, low=0.05, high=0.2).excludes(0.0)
    assert not Interval(estimate=0.1, low=-0.05, high=0.2).excludes(0.0)


def test_interval_covers_the_true_auroc_of_clustered_studies() -> None:
    """500 simulated test sets: patients with 1 to 4 images that share the patient's label and a random effect."""
    generator = np.random.default_rng(0)
    num_studies, shift, truth = 500, 1.2, norm.cdf(1.2 / np.sqrt(2 * (1 + 0.5)))
    num_covered = 0
    for study in range(num_studies):
        patients = np.repeat(np.arange(150), generator.integers(1, 5, size=150))
        is_positive, effect = generator.random(150) < 0.4, generator.normal(size=150)
        labels = is_positive[patients].astype(float)
        noise = np.sqrt(0.5) * generator.normal(size=len(patients))
        scores = (shift * labels + effect[patients] + noise)[None]
        interval = bootstrap(labels, {"a": scores}, patients, num_replicates=300, seed=study).interval("a")
        num_covered += not interval.excludes(truth)
    assert 0.92 <= num_covered / num_studies <= 0.98
