"""Neighbours vote as in the training monitor, with every label's unknown images left out of its bank."""

import numpy as np
import pytest
import torch

from eval.readouts import knn
from eval.stats.metrics import auroc
from shards.base.errors import InputError
from train.encoders import neighbours
from train.encoders.neighbours import knn_scores


@pytest.mark.parametrize("num_cosines", [50_000_000, 700])
def test_scores_are_those_of_the_training_monitor(num_cosines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_NUM_COSINES", num_cosines)  # 700: several blocks of queries
    random = np.random.default_rng(0)
    features = random.normal(size=(260, 16)).astype(np.float32)
    labels = (random.random((200, 3)) < 0.4).astype(np.float32)
    labels[:50, 1], labels[20:195, 2] = np.nan, np.nan
    labels[:2, 2] = 0, 1
    valid, test, details = knn.fit(
        features[:200], labels, np.arange(200), features[200:210], labels[:10], features[200:], num_neighbours=30
    )
    assert details == {"num_neighbours": 30, "temperature": 0.07}
    np.testing.assert_allclose(valid, test[:10], rtol=1e-5)
    for number, column in enumerate(labels.T):
        known = np.isfinite(column)
        share = knn_scores(
            *(torch.from_numpy(values) for values in (features[200:], features[:200][known], column[known])),
            num_neighbours=30,
            temperature=0.07,
        )
        count = min(30, known.sum())
        np.testing.assert_allclose(
            torch.from_numpy(test[:, number]).sigmoid() * (count + 1) - 0.5, count * share, atol=1e-4
        )


def test_neighbours_find_what_is_near() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(300) % 2
    features = random.normal(size=(300, 8)) + 2 * labels[:, None]
    _, scores, _ = knn.fit(
        features[:200], labels[:200, None].astype(float), np.arange(200), features[:0], np.empty((0, 1)), features[200:]
    )
    assert np.isfinite(scores).all()
    assert auroc(labels[200:], scores[:, 0]) > 0.95


@pytest.mark.parametrize(
    ("settings", "message"), [({"num_neighbours": 0}, "--neighbours 0"), ({"temperature": 0.0}, "--temperature 0")]
)
def test_settings_out_of_range_are_refused(settings: dict, message: str) -> None:
    features, labels = np.eye(4), np.array([[0.0], [1], [0], [1]])
    with pytest.raises(InputError, match=message):
        knn.fit(features, labels, np.arange(4), features, labels, features, **settings)
