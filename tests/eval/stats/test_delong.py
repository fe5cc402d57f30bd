"""DeLong's variance against its definition over all pairs, and against the bootstrap."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from eval.stats.bootstrap import bootstrap
from eval.stats.delong import delong
from shards.base.errors import InputError


def example(*, decimals: int = 1, shift: float = 0.5) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels, and scores of two draws of one model and three of another that share much of their noise."""
    generator = np.random.default_rng(0)
    labels = (generator.random(120) < 0.4).astype(float)
    noise = generator.normal(size=120)
    scores = noise + labels + 0.5 * generator.normal(size=(5, 120))
    scores[2:] += shift * labels
    scores = np.round(scores, decimals)
    return labels, {"a": scores[:2], "b": scores[2:]}


def by_definition(labels: np.ndarray, scores: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """DeLong et al. (1988), equations 1 and 4 to 6: AUROCs and their covariance from a table of all pairs."""
    wins = []
    for draws in scores.values():
        positives, negatives = draws[:, labels == 1, None], draws[:, None, labels == 0]
        wins.append(((positives > negatives) + 0.5 * (positives == negatives)).mean(axis=0))
    by_positive, by_negative = np.array([w.mean(axis=1) for w in wins]), np.array([w.mean(axis=0) for w in wins])
    covariance = np.cov(by_positive) / by_positive.shape[1] + np.cov(by_negative) / by_negative.shape[1]
    return np.array([w.mean() for w in wins]), covariance


@pytest.mark.parametrize("decimals", [0, 1, 9], ids=["many ties", "some ties", "no ties"])
def test_midranks_give_what_the_definition_gives(decimals: int) -> None:
    labels, scores = example(decimals=decimals)
    result = delong(labels, scores)
    aurocs, covariance = by_definition(labels, scores)
    np.testing.assert_allclose(result.aurocs, aurocs, atol=1e-12)
    np.testing.assert_allclose(result.covariance, covariance, atol=1e-14)
    assert result.aurocs[0] == pytest.approx(np.mean([roc_auc_score(labels, draw) for draw in scores["a"]]))
    z = (aurocs[1] - aurocs[0]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert result.p_value("b", "a") == pytest.approx(2 * norm.sf(abs(z)))


def test_intervals_and_test_agree_with_the_bootstrap_of_single_images() -> None:
    labels, scores = example()
    result = delong(labels, scores)
    resampled = bootstrap(labels, scores, np.arange(len(labels)), num_replicates=4000)
    for ours, theirs in (
        (result.interval("a"), resampled.interval("a")),
        (result.difference("b", "a"), resampled.difference("b", "a")),
    ):
        assert ours.estimate == pytest.approx(theirs.estimate)
        assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=0.015)


def test_difference_excludes_zero_where_p_is_small() -> None:
    for shift in (0.0, 0.1, 0.2, 0.3, 0.5):
        labels, scores = example(shift=shift)
        result = delong(labels, scores)
        assert result.difference("b", "a").excludes(0.0) == (result.p_value("b", "a") < 0.05)
        assert result.p_value("b", "a") == pytest.approx(result.p_value("a", "b"))


def test_models_that_rank_alike_do_not_differ() -> None:
    labels, scores = example()
    result = delong(labels, {"a": scores["a"], "b": 3 * scores["a"] - 1})
    assert result.p_value("b", "a") == 1.0
    difference = result.difference("b", "a")
    assert (difference.estimate, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_limits_stay_within_0_and_1() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    result = delong(labels, {"a": np.array([[0.0, 1, 4, 3, 5, 6]])})
    assert result.interval("a").high == 1.0
    assert result.interval("a").low > 0


@pytest.mark.parametrize("labels", [[0, 0, 0, 1], [1, 1, 1, 1]])
def test_too_few_of_a_class_are_refused(labels: list[int]) -> None:
    with pytest.raises(InputError, match="needs two of each class"):
        delong(np.array(labels), {"a": np.arange(4.0)[None]})
