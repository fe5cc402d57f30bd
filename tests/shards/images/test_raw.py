import numpy as np
import pytest

from shards.images.decode import decode_image
from shards.images.raw import SIDE, decode_raw, is_raw
from shards.images.refusal import ImageError


def test_white_is_at_0():
    film = np.zeros((SIDE, SIDE), ">u2")
    film[5, 7] = 4095
    assert is_raw(film.tobytes())
    pixels = decode_raw(film.tobytes())
    assert (pixels[0, 0], pixels[5, 7], pixels[7, 5]) == (4095, 0, 4095)
    gray = np.asarray(decode_image(film.tobytes(), shorter=SIDE).gray)
    assert (gray.shape, gray[0, 0], gray[5, 7]) == ((SIDE, SIDE), 255, 0)


def test_other_bytes_of_that_size_are_no_film():
    film = np.full((SIDE, SIDE), 4096, ">u2").tobytes()
    assert not is_raw(film)
    with pytest.raises(ImageError, match="no known image format"):
        decode_image(film, shorter=320)
    assert not is_raw(bytes(100))
