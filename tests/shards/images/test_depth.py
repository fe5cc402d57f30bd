import numpy as np
import pytest

from shards.images.depth import full_scale, quantiles, to_levels
from shards.images.refusal import ImageError

RAMP = np.tile(np.linspace(40, 250, 200), (100, 1))


def far(values, **options):
    """How far, in gray levels, the picture is from the ramp."""
    return np.abs(to_levels(values, **options).astype(float) - RAMP).max()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_a_depth_is_the_smallest_that_holds_the_values(bits):
    values = np.rint(RAMP / 255 * (2**bits - 1))
    assert far(values.astype(np.uint16)) <= 1
    assert far(values.astype(np.int32)) <= 1
    assert far(values.astype(np.float32)) <= 1
    assert far((values - 2 ** (bits - 1)).astype(np.int32)) <= 1, "negative numbers: zero is in the middle"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fractions(dtype):
    assert far((RAMP / 255).astype(dtype)) <= 1
    assert far((RAMP / 127.5 - 1).astype(dtype)) <= 1, "from -1 to 1"
    assert far((RAMP / 255 * 1.05).astype(dtype)) <= 0.05 * 255, "a little above 1"
    assert far((RAMP / 255 - 0.02).astype(dtype)) <= 6, "a little below 0"


def test_standardised_numbers_show_all_between_their_ends():
    levels = to_levels((RAMP - RAMP.mean()) / RAMP.std())
    assert levels[:, :2].max() <= 2
    assert levels[:, -2:].min() >= 253


def test_hot_pixels_and_overshoot_are_white_and_change_nothing_else():
    values = np.rint(RAMP * 16).astype(np.uint16)
    values[0, :80] = 65535  # under half a per cent
    assert np.abs(to_levels(values)[1:].astype(float) - RAMP[1:]).max() < 2
    assert (to_levels(values)[0, :80] == 255).all()
    bright = np.clip(np.rint(RAMP * 17), 0, 4130).astype(np.uint16)  # a tenth of the pixels over 4095
    assert to_levels(bright).max() == 255
    assert np.abs(to_levels(bright) - np.clip(RAMP * 17 / 4095 * 255, 0, 255)).max() <= 1
    dark = np.rint(RAMP * 16).astype(np.int32)
    dark[0, :80] = -3000
    assert np.abs(to_levels(dark)[1:].astype(float) - RAMP[1:]).max() < 2


def test_a_declared_depth_is_a_bound_and_one_beside_whole_bytes_is_believed():
    values = np.rint(RAMP * 4).astype(np.uint16)  # of 10 bits
    assert far(values, bits=16) < 2
    assert np.abs(to_levels(values, bits=12).astype(float) - RAMP / 4).max() < 2
    signed = (np.rint(RAMP * 16) - 2048).astype(np.int16)
    assert far(signed, bits=12) < 2
    assert far(np.maximum(signed, 0), bits=12) > 40, "a signed type has zero in the middle, negative values or not"


def test_numbers_that_are_none_are_damage():
    with pytest.raises(ImageError, match="not finite"):
        to_levels(np.array([[0.0, np.nan], [np.inf, 1.0]]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
def test_quantiles_occur_among_the_values(dtype):
    values = np.arange(1, 201, dtype=dtype).reshape(10, 20)
    low, high = quantiles(values)
    assert (low, high) == (1, 199)
    assert quantiles(np.full((8, 8), 7, dtype)) == (7, 7)


def test_full_scale():
    assert [full_scale(top) for top in (0, 255, 256, 1023, 4096)] == [255, 255, 511, 1023, 8191]
