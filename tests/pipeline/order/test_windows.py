"""Windows of shards: which are open at once, and how evenly their samples are mixed."""

from collections import Counter

import numpy as np
import pytest

from pipeline.order import Order
from tests.pipeline.order.conftest import extents, most_open


@pytest.mark.parametrize("window", [1, 2, 4, 8, 100])
def test_at_any_place_at_most_a_window_of_shards_is_open(window):
    shards = np.random.default_rng(0).integers(0, 21, 2000)  # not in shard order, as after a selection
    order = Order(2000, seed=1, batch_size=4, shuffle="shards", shards=shards, window=window, last="short")
    sequence = shards[order.sequence(0).positions]
    first, last = extents(sequence)
    assert most_open(sequence) <= window
    # Windows are as large as can be, and all of one size but for a shard: one begins wherever no shard is half read.
    starts = [place for place in np.sort(first) if not ((first < place) & (place <= last)).any()]
    sizes = {len(set(part)) for part in np.split(sequence, starts[1:])}
    num_windows = -(-21 // window)
    assert len(starts) == num_windows
    assert sizes == {21 // num_windows, -(-21 // num_windows)}


def test_samples_of_a_window_are_mixed_evenly():
    """Each place of the epoch is as likely to hold any sample, if shards are of one size: a chi-square of 64 x 64
    counts, whose mean is its 63 * 63 degrees of freedom and whose deviation is 89."""
    n, num_epochs = 64, 6400
    order = Order(
        n, seed=3, batch_size=4, shuffle="shards", shards=np.arange(n) // 4, window=4, last="short"
    )  # four windows of four shards
    counts = np.zeros((n, n))
    for epoch in range(num_epochs):
        counts[np.arange(n), order.sequence(epoch).positions] += 1
    expected = num_epochs / n
    assert abs(((counts - expected) ** 2 / expected).sum() - 63 * 63) < 4 * 89


def test_which_shards_share_a_window_differs_by_epoch():
    order = Order(64, seed=3, batch_size=4, shuffle="shards", shards=np.arange(64) // 4, window=4, last="short")
    together = Counter()
    for epoch in range(600):
        for window in (order.sequence(epoch).positions // 4).reshape(4, 16):
            assert len(set(window)) == 4
            together.update({(a, b) for a in set(window) for b in set(window) if a < b})
    assert len(together) == 16 * 15 // 2
    assert min(together.values()) > 60  # of 600 * 3/15 = 120 expected, deviation 10
    assert max(together.values()) < 180
