"""Votes are those of plain steps, whatever the number of queries at a time."""

import numpy as np
import pytest
import torch

from train.encoders import neighbours
from train.encoders.neighbours import knn_scores


@pytest.mark.parametrize("num_cosines", [50_000_000, 70])
def test_scores_are_those_of_a_plain_vote(num_cosines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_NUM_COSINES", num_cosines)  # 70: several blocks of queries
    random = np.random.default_rng(0)
    queries, bank, labels = random.normal(size=(7, 5)), random.normal(size=(30, 5)), random.integers(0, 2, 30)
    expected = []
    for query in queries:
        cosines = [query @ key / np.linalg.norm(query) / np.linalg.norm(key) for key in bank]
        nearest = sorted(range(30), key=lambda i: -cosines[i])[:4]
        votes = [np.exp(cosines[i] / 0.07) for i in nearest]
        expected.append(sum(votes[n] for n, i in enumerate(nearest) if labels[i]) / sum(votes))
    made = knn_scores(*map(torch.from_numpy, (queries, bank, labels)), num_neighbours=4, temperature=0.07)
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-5)


def test_a_small_bank_is_taken_whole() -> None:
    scores = knn_scores(torch.eye(2), torch.eye(2), torch.tensor([1, 0]), num_neighbours=20, temperature=0.07)
    assert scores[0] > 0.999
    assert scores[1] < 0.001
