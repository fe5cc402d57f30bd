import numpy as np
import pytest

from pipeline.philox import philox4x32, uniforms

# Known answers of the Random123 distribution (kat_vectors, philox4x32 with 10 rounds).
KNOWN_ANSWERS = [
    ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        (0xA4093822, 0x299F31D0),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    assert philox4x32(np.array([counter], dtype=np.uint64), key).tolist() == [words]


def test_numbers_depend_on_the_address_alone():
    rows = np.array([5, 9, 2])
    together = uniforms(rows, seed=3, epoch=7, view=1, num_draws=6)
    alone = np.concatenate([uniforms(rows[i : i + 1], seed=3, epoch=7, view=1, num_draws=6) for i in range(3)])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[:, :3], uniforms(rows, seed=3, epoch=7, view=1, num_draws=3))


def test_blocks_are_those_of_the_generator():
    """Draw by draw: block b of an address is the generator's output for a counter that ends in (view, b)."""
    rows, key = np.array([5, 2**40 + 1]), (3, 1)
    values = uniforms(rows, seed=3 + 2**32, epoch=7, view=2, num_draws=10)
    for row, got in zip(rows.tolist(), values, strict=True):
        counters = [[row & 0xFFFFFFFF, row >> 32, 7, 2 << 16 | block] for block in range(3)]
        words = np.concatenate([philox4x32(np.array([counter], dtype=np.uint64), key)[0] for counter in counters])
        np.testing.assert_array_equal(got, words[:10] / 2**32)


def test_an_epoch_for_each_row():
    rows, epochs = np.array([5, 5, 2]), np.array([0, 7, 7])
    together = uniforms(rows, seed=3, epoch=epochs, view=1, num_draws=6)
    alone = [uniforms(rows[i : i + 1], seed=3, epoch=int(epochs[i]), view=1, num_draws=6)[0] for i in range(3)]
    np.testing.assert_array_equal(together, alone)
    assert uniforms(rows[:0], seed=3, epoch=epochs[:0], view=1, num_draws=6).shape == (0, 6)


@pytest.mark.parametrize("change", [{"seed": 4}, {"seed": 3 + 2**32}, {"epoch": 8}, {"view": 0}])
def test_every_part_of_the_address_matters(change):
    address = {"seed": 3, "epoch": 7, "view": 1}
    rows = np.arange(50)
    assert not np.any(uniforms(rows, **address, num_draws=2) == uniforms(rows, **{**address, **change}, num_draws=2))


def test_uniform_and_uncorrelated():
    values = uniforms(np.arange(20_000), seed=0, epoch=0, view=0, num_draws=8)
    assert values.min() >= 0
    assert values.max() < 1
    np.testing.assert_allclose(values.mean(axis=0), 0.5, atol=0.01)
    np.testing.assert_allclose(np.corrcoef(values.T), np.eye(8), atol=0.03)
