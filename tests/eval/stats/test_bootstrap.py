"""The bootstrap against a plain loop and against SciPy's; pairing, labels that are missing, and bad input."""

import resource

import numpy as np
import pytest
import scipy.stats
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from eval.stats.bootstrap import bootstrap, bootstrap_table, resample_block
from eval.stats.metrics import METRICS, auroc
from shards.base.errors import InputError
from tests.eval.stats.references import average_precision, calibration_error, sensitivity_at_specificity


def example(num_items: int = 200, *, num_patients: int = 70, seed: int = 0):
    """Labels, tied scores (3, N) of three draws, and patients."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(num_items) < 0.3).astype(np.float32)
    scores = np.round(generator.normal(size=(3, num_items)) + labels, 1)
    return labels, scores, generator.integers(num_patients, size=num_items)


def items_of_resamples(patients: np.ndarray, num_replicates: int, seed: int) -> list[np.ndarray]:
    """The items of each resample, one copy for each time that their patient was drawn."""
    names = np.unique(patients)
    counts = np.concatenate([resample_block(len(names), block, seed) for block in range(1 + num_replicates // 64)])
    return [
        np.concatenate([np.flatnonzero(patients == name) for name in np.repeat(names, row)])
        for row in counts[:num_replicates]
    ]


def test_bootstrap_equals_a_loop_over_the_same_resamples() -> None:
    labels, scores, patients = example()
    other = scores[:2] + 0.5 * labels
    result = bootstrap(labels, {"a": scores, "b": other}, patients, num_replicates=70, seed=3)
    loop = [
        [np.mean([roc_auc_score(labels[items], draw[items]) for draw in draws]) for draws in (scores, other)]
        for items in items_of_resamples(patients, 70, 3)
    ]
    a, b = np.array(loop).T
    np.testing.assert_allclose(result.replicates["a"], a, atol=1e-12)
    np.testing.assert_allclose(result.replicates["b"], b, atol=1e-12)
    difference = result.difference("b", "a")
    assert [difference.low, difference.high] == pytest.approx(np.quantile(b - a, [0.025, 0.975]))
    assert difference.estimate == pytest.approx(result.interval("b").estimate - result.interval("a").estimate)
    assert result.interval("a").estimate == pytest.approx(np.mean([roc_auc_score(labels, s) for s in scores]))
    assert result.p_value("b", "a") == pytest.approx(2 * (1 + min((b <= a).sum(), (b >= a).sum())) / 71)


def test_a_table_of_labels_and_metrics_equals_a_loop_over_the_same_resamples() -> None:
    _, scores, patients = example(150, num_patients=40)
    generator = np.random.default_rng(1)
    labels = (generator.random((150, 2)) < 0.4).astype(float)
    labels[:30, 1] = np.nan
    logits = np.stack([scores, -scores], axis=2)  # (D, N, L)
    logits[:, :30, 1] = np.nan  # not scored where there is no label
    table = bootstrap_table(labels, {"a": logits}, patients, label_names=("x", "y"), metrics=METRICS, num_replicates=70)
    one_by_one = {
        "auroc": auroc,
        "average_precision": average_precision,
        "sensitivity": sensitivity_at_specificity,
        "calibration_error": lambda truth, values: calibration_error(truth, expit(values)),
    }
    for metric in METRICS:
        loop = []
        for items in [*items_of_resamples(patients, 70, 0), np.arange(150)]:
            kept = [items, items[items >= 30]]
            loop.append(
                [
                    np.mean([one_by_one[metric](labels[kept[k], k], draw[kept[k], k]) for draw in logits])
                    for k in range(2)
                ]
            )
        *resampled, estimates = np.array(loop)
        for number, label in enumerate(("x", "y")):
            found = table.of(label, metric)
            np.testing.assert_allclose(found.replicates["a"], np.array(resampled)[:, number], atol=1e-12)
            assert found.estimates["a"] == pytest.approx(estimates[number])
        macro = table.macro(metric)
        np.testing.assert_allclose(macro.replicates["a"], np.mean(resampled, axis=1), atol=1e-12)
        assert macro.estimates["a"] == pytest.approx(estimates.mean())


def test_interval_of_a_calibration_error_reaches_down_to_the_truth() -> None:
    """Of a model whose logits are all too low by 0.3."""
    generator = np.random.default_rng(0)
    logits = 1.2 * generator.normal(size=(300,)) + 0.3
    labels = (generator.random(300) < expit(logits + 0.3)).astype(float)
    many = generator.normal(size=200_000) * 1.2 + 0.3
    truth = calibration_error(generator.random(200_000) < expit(many + 0.3), expit(many))
    result = bootstrap(labels, {"a": logits[None]}, np.arange(300), metric="calibration_error")
    interval = result.interval("a")
    assert interval.low <= interval.estimate <= interval.high
    assert not interval.excludes(truth)
    assert np.mean(result.replicates["a"]) > interval.estimate + 0.01  # why percentiles would not do


def test_interval_equals_that_of_scipy_within_the_error_of_resampling() -> None:
    """One image a patient, resampled by another implementation with its own random numbers."""
    labels, scores, _ = example(300)
    other = np.round(scores[0] + 0.7 * labels, 1)
    ours = bootstrap(labels, {"a": scores[:1], "b": other[None]}, np.arange(300), num_replicates=3000)

    def difference(items: np.ndarray) -> float:
        return auroc(labels[items], other[items]) - auroc(labels[items], scores[0][items])

    theirs = scipy.stats.bootstrap(
        (np.arange(300),), difference, n_resamples=3000, method="percentile", vectorized=False, rng=1
    )
    found, expected = ours.difference("b", "a"), theirs.confidence_interval
    # An end of an interval of 3,000 resamples scatters by some 3 % of its half width.
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high], abs=0.005)
    assert expected.high - expected.low > 0.04
    assert np.std(ours.replicates["b"] - ours.replicates["a"]) == pytest.approx(theirs.standard_error, rel=0.05)


def test_resamples_draw_whole_patients_alike_for_a_seed_and_block() -> None:
    counts = resample_block(30, 2, 5)
    assert counts.shape == (64, 30)
    assert (counts.sum(axis=1) == 30).all()
    np.testing.assert_array_equal(counts, resample_block(30, 2, 5))
    assert (counts != resample_block(30, 2, 6)).any()
    assert (counts != resample_block(30, 3, 5)).any()
    assert len(np.unique(counts, axis=0)) == 64


def test_replicates_depend_on_neither_threads_nor_their_number() -> None:
    labels, scores, patients = example()
    one = bootstrap(labels, {"a": scores}, patients, num_replicates=1500, num_threads=1).replicates["a"]
    three = bootstrap(labels, {"a": scores}, patients, num_replicates=1500, num_threads=3).replicates["a"]
    fewer = bootstrap(labels, {"a": scores}, patients, num_replicates=701).replicates["a"]
    np.testing.assert_array_equal(one, three)
    np.testing.assert_array_equal(one[:701], fewer)


def test_paired_difference_of_equal_models_is_exactly_zero() -> None:
    labels, scores, patients = example()
    result = bootstrap(labels, {"a": scores, "b": scores.copy()}, patients)
    difference = result.difference("b", "a")
    assert (difference.estimate, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert not difference.excludes(0.0)
    assert result.p_value("b", "a") == 1.0


def test_resamples_of_one_class_are_dropped_and_counted() -> None:
    labels = np.array([1, 0, 0, 0, 0, 0])
    result = bootstrap(labels, {"a": np.arange(6.0)[None]}, np.arange(6), num_replicates=2000, seed=0)
    expected = 2000 * ((5 / 6) ** 6 + (1 / 6) ** 6)
    assert abs(result.num_dropped - expected) < 4 * np.sqrt(expected)
    assert len(result.replicates["a"]) == 2000 - result.num_dropped
    assert np.isfinite(result.replicates["a"]).all()


def test_the_mean_over_labels_drops_what_any_label_drops() -> None:
    labels = np.stack([np.arange(12) == 0, np.arange(12) == 1], axis=1).astype(float)
    scores = {"a": np.random.default_rng(0).normal(size=(1, 12, 2))}
    table = bootstrap_table(labels, scores, np.arange(12), label_names=("x", "y"), num_replicates=500)
    alone = [table.of(label).num_dropped for label in ("x", "y")]
    assert max(alone) < table.macro().num_dropped < sum(alone)


def test_one_class_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="0 of 4 test items are positive"):
        bootstrap(np.zeros(4), {"a": np.arange(4.0)[None]}, np.arange(4))
    labels = np.array([[0.0, 1], [1, 1], [0, np.nan]])
    with pytest.raises(InputError, match="label 'y': 2 of 2"):
        bootstrap_table(labels, {"a": np.zeros((1, 3, 2))}, np.arange(3), label_names=("x", "y"))


def test_one_patient_alone_has_no_interval() -> None:
    labels = np.array([0.0, 0.0, 1.0])
    with pytest.raises(InputError, match="no resample of the test patients held both classes"):
        bootstrap(labels, {"a": np.arange(3.0)[None]}, np.arange(3), num_replicates=1, seed=next(_seeds_of_one_class()))


def _seeds_of_one_class():
    return (seed for seed in range(99) if not resample_block(3, 0, seed)[0, 2])


def test_scores_that_are_not_finite_are_refused() -> None:
    labels, scores, patients = example()
    scores[1, 5] = np.nan
    with pytest.raises(InputError, match="scores of 'a': 1 are not finite"):
        bootstrap(labels, {"a": scores}, patients)


def test_clustered_interval_is_wider_than_one_that_takes_images_for_patients() -> None:
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 8)
    labels = (patients % 2).astype(float)
    scores = (labels + np.repeat(generator.normal(size=60), 8) + 0.1 * generator.normal(size=480))[None]
    clustered = bootstrap(labels, {"a": scores}, patients).interval("a")
    naive = bootstrap(labels, {"a": scores}, np.arange(480)).interval("a")
    assert clustered.high - clustered.low > 2 * (naive.high - naive.low)


@pytest.mark.slow
def test_10_000_paired_resamples_over_25_000_images_take_under_10_seconds() -> None:
    """Of processor time, so that two cores have twice what they need and a busy machine does not matter."""
    generator = np.random.default_rng(0)
    labels, patients = (generator.random(25_000) < 0.3).astype(float), generator.integers(15_000, size=25_000)
    scores = {model: (generator.normal(size=25_000) + labels)[None] for model in "ab"}
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = bootstrap(labels, scores, patients, num_replicates=10_000)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert len(result.replicates["a"]) == 10_000
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 10
