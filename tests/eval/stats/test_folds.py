"""Scores of several models: metrics within folds against a plain computation, and why they are not pooled."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from eval.stats.bootstrap import bootstrap_table, resample_block
from eval.stats.delong import delong
from eval.stats.folds import fold_auroc
from eval.stats.metrics import METRICS, auroc
from eval.study.folds import stratified_folds
from shards.base.errors import InputError
from tests.eval.stats import references


def made(num: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores (two draws) on another scale in each fold, patients of three images, folds of patients."""
    generator = np.random.default_rng(seed)
    patients = np.arange(num) // 3
    labels = (generator.random(num) < 0.3).astype(np.float64)
    folds = generator.integers(4, size=num // 3 + 1)[patients]
    scores = generator.normal(size=(2, num)) + labels + 5.0 * folds
    return labels, scores.astype(np.float32), patients, folds


def by_hand(labels: np.ndarray, scores: np.ndarray, folds: np.ndarray, metric) -> float:
    total, weight = 0.0, 0.0
    for one in np.unique(folds):
        mine = folds == one
        positives = labels[mine].sum()
        if 0 < positives < mine.sum():
            total += positives * metric(labels[mine], scores[mine])
            weight += positives
    return total / weight


def test_estimates_and_resamples_are_means_over_folds() -> None:
    labels, scores, patients, folds = made()
    table = bootstrap_table(
        labels[:, None],
        {"a": scores[:, :, None]},
        patients,
        label_names=("x",),
        metrics=METRICS,
        folds=folds,
        num_replicates=64,
    )
    rank = {"auroc": roc_auc_score, "average_precision": average_precision_score}
    for metric, plain in rank.items():
        expected = np.mean([by_hand(labels, one, folds, plain) for one in scores])
        assert table.of("x", metric).estimates["a"] == pytest.approx(expected, abs=1e-9)
    assert table.of("x").estimates["a"] == pytest.approx(np.mean([fold_auroc(labels, one, folds) for one in scores]))
    # Calibration is of all folds together.
    ece = np.mean([references.calibration_error(labels, expit(one.astype(float))) for one in scores])
    assert table.of("x", "calibration_error").estimates["a"] == pytest.approx(ece, abs=1e-9)
    # Each model's own threshold: one for all would call the last fold's images only.
    sensitivity = np.mean([by_hand(labels, one, folds, references.sensitivity_at_specificity) for one in scores])
    assert table.of("x", "sensitivity").estimates["a"] == pytest.approx(sensitivity, abs=1e-9)

    counts = resample_block(len(np.unique(patients)), 0, 0)
    for number in (0, 17):
        items = np.repeat(np.arange(len(labels)), counts[number][patients])
        expected = np.mean([by_hand(labels[items], one[items], folds[items], roc_auc_score) for one in scores])
        assert table.replicates["a"][0, 0, number] == pytest.approx(expected, abs=1e-9)


def test_a_shift_of_one_model_changes_nothing() -> None:
    labels, scores, _, folds = made()
    level = (scores - 5.0 * folds)[0]
    assert fold_auroc(labels, scores[0], folds) == pytest.approx(fold_auroc(labels, level, folds), abs=1e-3)
    assert auroc(labels, scores[0]) < auroc(labels, level) - 0.1


def test_a_fold_without_a_class_says_nothing() -> None:
    labels, scores, folds = np.array([1, 0, 0, 0, 0, 1.0]), np.array([3, 1, 2, 9, 8, 0.0]), np.array([1, 1, 1, 2, 2, 3])
    assert fold_auroc(labels, scores, folds) == 1.0
    assert np.isnan(fold_auroc(labels[1:], scores[1:], folds[1:]))
    with pytest.raises(InputError, match="no fold tests both classes"):
        bootstrap_table(labels[1:, None], {"a": scores[None, 1:, None]}, folds[1:], label_names=("x",), folds=folds[1:])


def test_delong_agrees_with_the_bootstrap_within_folds() -> None:
    labels, scores, _, folds = made(600)
    other = scores[:1] + np.random.default_rng(5).normal(size=600)
    items = np.arange(600)
    table = bootstrap_table(
        labels[:, None],
        {"a": scores[:1, :, None], "b": other[:, :, None]},
        items,
        label_names=("x",),
        folds=folds,
        num_replicates=3000,
    )
    check, resampled = delong(labels, {"a": scores[:1], "b": other}, folds), table.of("x")
    for model in ("a", "b"):
        assert check.interval(model).estimate == pytest.approx(resampled.estimates[model])
        assert check.interval(model).low == pytest.approx(resampled.interval(model).low, abs=0.006)
    difference = check.difference("a", "b")
    assert difference.low == pytest.approx(resampled.difference("a", "b").low, abs=0.006)


def test_pooled_scores_are_too_low_where_there_is_nothing_to_learn() -> None:
    """The model of a fold with few positives has seen many: pooled, that alone looks like the reverse of knowledge
    (Parker, Günter and Bedo 2007; Airola et al. 2011)."""
    pooled, within = [], []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        features = np.column_stack([generator.normal(size=(60, 5)), np.ones(60)])
        labels = (generator.permutation(60) < 12).astype(np.float64)
        folds = stratified_folds(labels[:, None], np.arange(60), num_folds=5, seed=seed)
        scores = np.empty(60)
        for one in range(5):
            weights = np.linalg.lstsq(features[folds != one], labels[folds != one])[0]
            scores[folds == one] = features[folds == one] @ weights
        pooled.append(auroc(labels, scores))
        within.append(fold_auroc(labels, scores, folds))
    assert np.mean(pooled) < 0.48
    assert abs(np.mean(within) - 0.5) < 3 * np.std(within) / np.sqrt(200)
