"""Mixtures: datasets by weight, each in passes of its own."""

from collections import Counter

import numpy as np
import pytest

from pipeline.order import Order
from tests.pipeline.order.conftest import MIXTURES, PARTS, N, most_open, pairs_of


@pytest.mark.parametrize("options", MIXTURES.values())
def test_mixture_proportions(options):
    """101 samples by weights 1, 2, 1: 25.25, 50.5 and 25.25, of which the largest remainder is rounded up."""
    for epoch in range(5):
        positions = Order(N, seed=1, batch_size=4, last="short", **options).sequence(epoch).positions
        assert np.bincount(PARTS[positions]).tolist() == [25, 51, 25]


def test_weights_of_any_scale_and_at_least_one_sample_of_each_dataset():
    def counts(*weights):
        order = Order(N, seed=1, batch_size=4, parts=PARTS, weights=weights, last="short")
        return np.bincount(PARTS[order.sequence(0).positions]).tolist()

    assert counts(1, 2, 1) == counts(8e307, 1.6e308, 8e307) == counts(0.1, 0.2, 0.1)
    assert counts(1, 1e-12, 1e-12) == [99, 1, 1]
    for weights in np.random.default_rng(0).exponential(size=(200, 3)) ** 3:
        found = np.array(counts(*weights))
        wanted = np.maximum(N * weights / weights.sum(), 1)
        assert found.sum() == N
        assert np.abs(found - wanted).max() < 3  # one for rounding, and two given up to those that had none


@pytest.mark.parametrize("options", MIXTURES.values())
def test_samples_of_a_dataset_are_used_equally_over_epochs(options):
    order = Order(N, seed=1, batch_size=4, last="short", **options)
    counts, addresses = np.zeros(N, dtype=int), Counter()
    for epoch in range(9):
        sequence = order.sequence(epoch)
        counts += np.bincount(sequence.positions, minlength=N)
        addresses.update(pairs_of(sequence))
        for part in range(3):
            of_part = counts[part == PARTS]
            assert of_part.max() - of_part.min() <= 1
    assert max(addresses.values()) == 1  # a sample that comes again is on another pass, so in other views
    for position in range(N):  # ... and its passes are 0, 1, 2, ...
        passes = sorted(number for other, number in addresses if other == position)
        assert passes in (list(range(len(passes))), list(range(len(passes) + 1))[: len(passes)])


def test_datasets_of_a_mixture_are_interleaved_evenly_and_not_in_a_fixed_pattern():
    parts = np.repeat([0, 1, 2], [6000, 3000, 1000])
    order = Order(10_000, seed=1, batch_size=4, parts=parts, weights=[5, 3, 2], last="short")
    epochs = [parts[order.sequence(epoch).positions] for epoch in range(2)]
    for found in epochs:
        for size in (10, 64, 1000):
            held = np.stack([np.convolve(found == part, np.ones(size), "valid") for part in range(3)])
            assert np.abs(held - size * np.array([[0.5], [0.3], [0.2]])).max() < 4
    assert (epochs[0] != epochs[1]).mean() > 0.2


@pytest.mark.parametrize("shuffle", MIXTURES)
def test_passes_of_a_dataset_and_datasets_are_shuffled_independently(shuffle):
    n = 400
    shards = np.arange(n) // 10
    parts = np.repeat([0, 1], 200)
    options = (
        MIXTURES[shuffle] | {"parts": parts, "weights": [1, 1]} | ({"shards": shards} if shuffle == "shards" else {})
    )
    order = Order(n, seed=1, batch_size=4, last="short", **options)
    positions = [order.sequence(epoch).positions for epoch in range(2)]  # a pass of each dataset
    passes = [found[parts[found] == part] % 200 for found in positions for part in (0, 1)]
    for i in range(4):
        assert sorted(passes[i]) == list(range(200))
        assert all((passes[i] == passes[j]).mean() < 0.1 for j in range(i))


def test_each_pass_of_a_dataset_keeps_to_windows_of_its_shards():
    shards = 100 * PARTS + np.random.default_rng(0).integers(0, 6, N)
    options = MIXTURES["shards"] | {"shards": shards, "window": 2}
    order = Order(N, seed=1, batch_size=4, last="short", **options)
    sequences = [order.sequence(epoch) for epoch in range(8)]
    positions = np.concatenate([sequence.positions for sequence in sequences])
    passes = np.concatenate([sequence.passes for sequence in sequences])
    for part, number in [(0, 0), (0, 1), (1, 0), (1, 19), (2, 0), (2, 17)]:
        in_pass = positions[(PARTS[positions] == part) & (passes == number)]
        assert sorted(in_pass) == np.flatnonzero(part == PARTS).tolist()
        assert most_open(shards[in_pass]) == 2
