import numpy as np
from PIL import Image

from shards.images.gray import as_levels, as_picture, as_shown, luminance
from tests.shards.images.pictures import NOISE, RAMP


def test_luminance_is_the_same_at_both_depths():
    colors = np.stack([RAMP, NOISE, RAMP[::-1, ::-1]], axis=2)
    deep = luminance(colors.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - luminance(colors)).max() <= 0.51
    assert luminance(np.full((2, 2, 3), 65535, np.uint16)).min() == 65535


def test_pictures_to_resample_give_their_levels_back():
    deep = NOISE.astype(np.uint16) * 256 + RAMP
    assert np.array_equal(as_levels(as_picture(deep, 16)), deep)
    assert np.array_equal(as_levels(as_picture(RAMP, 16)), RAMP.astype(np.uint16) * 257)
    assert np.array_equal(as_levels(as_picture(RAMP, 8)), RAMP)
    beyond = Image.fromarray(np.array([[-9.0, 0.6, 65536.0]], np.float32))
    assert as_levels(beyond).tolist() == [[0, 1, 65535]]


def test_what_is_shown_of_16_bits_is_their_nearest_of_8():
    deep = np.array([[0, 128, 129, 257, 65406, 65407, 65535]], np.uint16)
    assert np.asarray(as_shown(Image.fromarray(deep))).tolist() == [[0, 0, 1, 1, 254, 255, 255]]
    assert np.array_equal(np.asarray(as_shown(Image.fromarray(RAMP))), RAMP)
