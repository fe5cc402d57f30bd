"""The map keeps apart what the features keep apart, and is the same for a seed."""

import numpy as np
import pytest

from eval.report.embedding import agreement, choose_queries, embed, nearest
from shards.base.errors import InputError


@pytest.mark.slow
def test_groups_stay_groups_and_a_constant_feature_does_no_harm() -> None:
    generator = np.random.default_rng(0)
    group = np.repeat([0, 1], 40)
    features = generator.normal(size=(80, 20)) + 12 * group[:, None]
    features[:, 3] = 7.0
    points = embed(features.astype(np.float32), seed=0)
    assert points.shape == (80, 2)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(80)
    assert (group[distances.argmin(axis=1)] == group).all()
    np.testing.assert_array_equal(points, embed(features.astype(np.float32), seed=0))


def test_refuses_what_no_map_can_show() -> None:
    with pytest.raises(InputError, match="9 images"):
        embed(np.zeros((9, 4), dtype=np.float32), seed=0)
    with pytest.raises(InputError, match="collapsed"):
        embed(np.ones((20, 4), dtype=np.float32), seed=0)


def test_nearest_of_other_patients_as_by_a_loop() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(30, 5)).astype(np.float32)
    patients = generator.integers(10, size=30)
    found = nearest(features, patients, np.array([3, 17]), k=4)
    for query, neighbours, cosines in zip((3, 17), found.neighbours, found.cosines, strict=True):
        others = [n for n in range(30) if patients[n] != patients[query]]
        cosine = {
            n: features[query] @ features[n] / np.linalg.norm(features[query]) / np.linalg.norm(features[n])
            for n in others
        }
        assert neighbours.tolist() == sorted(others, key=lambda n: -cosine[n])[:4]
        np.testing.assert_allclose(cosines, [cosine[n] for n in neighbours], rtol=1e-5)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(InputError, match="1 images of other patients, but 2"):
        nearest(np.eye(3), np.array([0, 0, 1]), np.array([0]), k=2)


def test_agreement_is_that_of_positives() -> None:
    features = np.array([[1, 0], [1, 0.1], [0.9, 0.1], [0, 1], [0.1, 1]])
    labels = np.array([1.0, 1, 0, 0, np.nan])
    assert agreement(features, labels, np.arange(5), k=1) == pytest.approx(0.5)  # 0 -> 1 agrees, 1 -> 2 does not
    assert np.isnan(agreement(features, np.zeros(5), np.arange(5), k=1))


def test_queries_have_both_classes() -> None:
    labels = np.array([0.0, 1, np.nan, 0, 1, 0, 1])
    queries = choose_queries(labels, 2, seed=0)
    assert labels[queries].tolist() == [1, 1, 0, 0]
    assert len(choose_queries(labels, 9, seed=0)) == 6
