"""The map keeps apart what the features keep apart, and is the same for a seed."""

import numpy as np
import pytest

from eval.embedding_map import embed
from shards.base.errors import InputError


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
