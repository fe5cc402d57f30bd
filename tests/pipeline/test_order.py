import time
from collections import Counter

import numpy as np
import pytest

from pipeline.order import Order
from shards.base.errors import InputError
from shards.base.randomness import generator

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


@pytest.mark.parametrize("world_size", RANKS)
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_short_gives_every_sample_once(shuffle, world_size):
    batches = on_all_ranks(world_size=world_size, last="short", **SHUFFLES[shuffle])
    assert sorted(joined(batches)) == [(i, 0) for i in range(N)]
    assert all(len(batch) == 4 for own in batches for batch in own[:-1])


@pytest.mark.parametrize("world_size", RANKS)
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_drop_gives_full_batches_of_samples_that_come_once(shuffle, world_size):
    batches = on_all_ranks(world_size=world_size, last="drop", **SHUFFLES[shuffle])
    assert {len(own) for own in batches} == {N // (4 * world_size)}
    assert {len(batch) for own in batches for batch in own} == {4}
    assert len(set(joined(batches))) == len(joined(batches))


@pytest.mark.parametrize("world_size", RANKS)
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_pad_gives_full_batches_of_every_sample_once_and_the_first_ones_again(shuffle, world_size):
    batches = on_all_ranks(world_size=world_size, last="pad", **SHUFFLES[shuffle])
    assert {len(own) for own in batches} == {-(-N // (4 * world_size))}
    assert {len(batch) for own in batches for batch in own} == {4}
    seen = joined(batches)
    assert sorted(pair for pair in seen if pair[1] == 0) == [(i, 0) for i in range(N)]
    padding = [position for position, number in seen if number != 0]
    first = Order(N, seed=1, batch_size=4, **SHUFFLES[shuffle]).sequence(0).positions
    assert sorted(padding) == sorted(first[: len(padding)].tolist())


@pytest.mark.parametrize("options", [*SHUFFLES.values(), *MIXTURES.values()])
def test_padding_is_on_passes_that_nothing_else_is_on(options):
    seen = Counter()
    for epoch in range(6):  # with repeats of the padding: a global batch is more than thrice the epoch
        seen.update(joined(on_all_ranks(epoch=epoch, world_size=5, batch_size=70, last="pad", **options)))
    assert max(seen.values()) == 1
    assert sum(seen.values()) == 6 * 350
    assert max(number for _, number in seen) < 2**32  # a word of the views' address


def test_ranks_share_each_global_batch_in_order():
    whole = pairs_of(Order(N, seed=1, batch_size=4, last="short").sequence(0))
    batches = on_all_ranks(world_size=3, last="short")
    steps = [pair for step in range(9) for own in batches if step < len(own) for pair in own[step]]
    assert steps == whole


@pytest.mark.parametrize("last", ["drop", "pad", "short"])
@pytest.mark.parametrize("options", [*SHUFFLES.values(), *MIXTURES.values()])
def test_rest_of_an_epoch_is_the_same_under_another_number_of_ranks_and_batch_size(options, last):
    whole = pairs_of(Order(N, seed=1, batch_size=1, **options).sequence(2))
    for world_size, batch_size in [(1, 4), (3, 4), (7, 2), (2, 9)]:
        rest = joined(
            on_all_ranks(epoch=2, position=24, world_size=world_size, batch_size=batch_size, last=last, **options)
        )
        rest = sorted(pair for pair in rest if pair[1] < 2**31)
        num_dropped = (N - 24) % (world_size * batch_size) if last == "drop" else 0
        assert rest == sorted(whole[24 : N - num_dropped])


@pytest.mark.parametrize("last", ["drop", "pad", "short"])
@pytest.mark.parametrize("options", [*SHUFFLES.values(), *MIXTURES.values()])
def test_batches_are_a_function_of_seed_epoch_and_position(options, last):
    def batches(order, *address):
        return [pairs_of(picks) for picks in order.batches(*address)]

    def fresh(seed=1):
        return Order(N, seed=seed, batch_size=4, rank=1, world_size=2, last=last, **options)

    used = fresh()
    epochs = [batches(used, epoch) for epoch in range(4)]
    assert batches(fresh(), 3) == batches(used, 3) == epochs[3]
    for num_done in (1, 5, len(epochs[3])):
        assert batches(fresh(), 3, 8 * num_done) == epochs[3][num_done:]
    if options.get("shuffle") != "none":
        positions = [[position for batch in epoch for position, _ in batch] for epoch in epochs]
        positions.append([position for batch in batches(fresh(seed=2), 0) for position, _ in batch])
        for i in range(5):
            assert all(np.mean(np.equal(positions[i], positions[j])) < 0.2 for j in range(i))


def test_global_shuffle_keeps_the_permutation_that_saved_runs_are_on():
    order = Order(N, seed=5, batch_size=4, last="short")
    assert (order.sequence(3).positions == generator("order", 5, 3).permutation(N)).all()
    assert (order.sequence(3).passes == 3).all()


def test_without_shuffle_samples_ascend():
    order = Order(10, seed=1, batch_size=4, shuffle="none", last="pad")
    assert order.sequence(4).positions.tolist() == [*range(10), 0, 1]
    assert set(order.sequence(4).passes[:10].tolist()) == {4}


def test_of_no_samples_there_are_no_batches():
    for last in ("drop", "pad", "short"):
        assert list(Order(0, seed=1, batch_size=4, last=last).batches(0)) == []


def extents(shards):
    """The first and the last place of each shard."""
    return (np.array([np.flatnonzero(shards == shard)[end] for shard in np.unique(shards)]) for end in (0, -1))


def most_open(shards):
    """The number of shards that a reader would have to keep open."""
    first, last = extents(shards)
    return max(((first <= place) & (place <= last)).sum() for place in range(len(shards)))


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


@pytest.mark.parametrize("options", ["global", "shards", "mixture"])
def test_an_epoch_of_chexpert_starts_at_once(options):
    n = 223_414
    choices = {
        "global": {},
        "shards": {"shuffle": "shards", "shards": np.arange(n) // 2000},
        "mixture": {"parts": (np.arange(n) > 200_000) * 1 + (np.arange(n) > 222_000), "weights": [2, 1, 1]},
    }
    start = time.perf_counter()
    next(Order(n, seed=1, batch_size=64, **choices[options]).batches(7))
    assert time.perf_counter() - start < 1.0  # about 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffle": "local"}, "shuffle 'local': must be one of global, shards, none"),
        ({"last": "keep"}, "last 'keep': must be one of drop, pad, short"),
        ({"seed": -1}, "seed -1: must be 0 or more"),
        ({"weights": [1, 1]}, "2 for 3 datasets; give one for each"),
        ({"weights": [1, 1, 1, 1]}, "no image is selected of dataset 3"),
        ({"weights": [1, -1, 1]}, "that of dataset 1 is -1; give a number above 0"),
        ({"weights": [1, 1, 0]}, "that of dataset 2 is 0"),
        ({"weights": [float("nan"), 1, 1]}, "that of dataset 0 is nan"),
        ({"weights": [1, float("inf"), 1]}, "that of dataset 1 is inf"),
        ({"weights": [1, 1, 1], "shuffle": "none"}, "which shuffle none forbids"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(InputError, match=message):
        Order(N, **{"seed": 1, "batch_size": 4, "parts": PARTS} | options)
