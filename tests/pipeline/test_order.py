import numpy as np
import pytest

from pipeline.order import Order


def epoch_of(n, epoch=0, position=0, world_size=1, **options):
    """Positions of all ranks, batch by batch."""
    options = {"seed": 1, "batch_size": 4} | options
    ranks = [
        list(Order(n, rank=rank, world_size=world_size, **options).batches(epoch, position))
        for rank in range(world_size)
    ]
    return [np.concatenate([batches[i] for batches in ranks if i < len(batches)]) for i in range(len(ranks[0]))]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_every_row_once(world_size):
    seen = np.concatenate(epoch_of(101, world_size=world_size, drop_last=False))
    assert sorted(seen) == list(range(101))


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_drop_last_gives_every_rank_the_same_number_of_full_batches(world_size):
    orders = [Order(101, seed=1, batch_size=4, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {order.num_batches for order in orders} == {101 // (4 * world_size)}
    seen = np.concatenate([batch for order in orders for batch in order.batches(0)])
    assert len(set(seen)) == len(seen) == 4 * world_size * (101 // (4 * world_size))


def test_permutation_differs_by_epoch_and_seed_and_is_reproducible():
    order = Order(1000, seed=1, batch_size=4)
    assert (order.permutation(0) == Order(1000, seed=1, batch_size=9).permutation(0)).all()
    assert (order.permutation(0) != order.permutation(1)).mean() > 0.9
    assert (order.permutation(0) != Order(1000, seed=2, batch_size=4).permutation(0)).mean() > 0.9


def test_rest_of_an_epoch_is_the_same_set_under_another_number_of_ranks():
    whole = np.concatenate(epoch_of(96, world_size=2))
    rest = np.concatenate(epoch_of(96, position=24, world_size=3))
    assert set(rest) == set(whole[24:])


def test_sequential():
    assert np.concatenate(epoch_of(10, shuffle=False, drop_last=False)).tolist() == list(range(10))
