"""What each rank gets of an epoch, and that it hangs on seed, epoch and position alone."""

import time
from collections import Counter

import numpy as np
import pytest

from pipeline.order import Order
from shards.base.errors import InputError
from shards.base.randomness import generator
from tests.pipeline.order.conftest import MIXTURES, PARTS, RANKS, SHUFFLES, N, joined, on_all_ranks, pairs_of


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
