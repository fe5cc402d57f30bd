"""Orders of 101 samples in 21 shards and three datasets, on any number of ranks."""

import numpy as np

from pipeline.order import Order

N = 101
SHARDS = np.arange(N) // 5  # 21 shards
PARTS = np.repeat([0, 1, 2], [70, 20, 11])
SHUFFLES = {
    "global": {},
    "shards": {"shuffle": "shards", "shards": SHARDS, "window": 4},
    "none": {"shuffle": "none"},
}
MIXTURES = {
    "global": {"parts": PARTS, "weights": [1, 2, 1]},
    "shards": {"parts": PARTS, "weights": [1, 2, 1], "shuffle": "shards", "shards": SHARDS, "window": 4},
}
RANKS = [1, 2, 3, 7]


def on_all_ranks(n=N, *, epoch=0, position=0, world_size=1, **options):
    """Batches of (position, pass) pairs, for each rank."""
    options = {"seed": 1, "batch_size": 4} | options
    orders = [Order(n, rank=rank, world_size=world_size, **options) for rank in range(world_size)]
    batches = [[pairs_of(picks) for picks in order.batches(epoch, position)] for order in orders]
    if position == 0:
        assert [order.num_batches for order in orders] == [len(own) for own in batches]
        assert orders[0].length == sum(len(batch) for own in batches for batch in own)
    return batches


def pairs_of(picks):
    return list(zip(picks.positions.tolist(), picks.passes.tolist(), strict=True))


def joined(batches):
    return [pair for own in batches for batch in own for pair in batch]


def extents(shards):
    """The first and the last place of each shard."""
    return (np.array([np.flatnonzero(shards == shard)[end] for shard in np.unique(shards)]) for end in (0, -1))


def most_open(shards):
    """The number of shards that a reader would have to keep open."""
    first, last = extents(shards)
    return max(((first <= place) & (place <= last)).sum() for place in range(len(shards)))
