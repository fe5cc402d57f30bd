import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from shards.images.png import SIGNATURE
from shards.images.store import ImageError, ImageSpec, store_image
from tests.shards.images.pictures import RAMP, encoded, png_chunk

SPEC = ImageSpec(size=100, format="png")


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(store_image(data, SPEC).data))).astype(int)


def with_chunk(chunk):
    data = encoded(Image.fromarray(RAMP))
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize("kind", [b"tEXt", b"tIME", b"gAMA", b"iCCP", b"zzZz"])
def test_a_damaged_addition_is_left_out(kind):
    assert np.array_equal(pixels(with_chunk(png_chunk(kind, b"Comment\0 anything", is_wrong=True))), RAMP)


@pytest.mark.parametrize("kind", [b"tRNS", b"PLTE", b"ZZzz"])
def test_damage_in_what_a_picture_needs_is_damage(kind):
    with pytest.raises(ImageError, match="wrong checksum") as caught:
        pixels(with_chunk(png_chunk(kind, b"\0\0\0", is_wrong=True)))
    assert caught.value.reason == "damaged"


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_keep_their_depth_whatever_the_colours(bits, channels):
    deep = np.rint(RAMP / 255.0 * (2**bits - 1)).astype(np.uint16)
    samples = deep if channels == 1 else np.dstack([deep] * channels)
    data = cv2.imencode(".png", samples)[1].tobytes()
    got = pixels(data)
    assert np.abs(got - RAMP).max() <= 1
    assert len(np.unique(got)) > 150


def test_sixteen_bits_of_gray_with_transparency():
    deep = np.rint(RAMP / 255.0 * 4095).astype(">u2")
    rows = b"".join(b"\0" + np.dstack([row, row * 0 + 65535]).astype(">u2").tobytes() for row in deep)
    head = (200).to_bytes(4) + (100).to_bytes(4) + b"\x10\x04\0\0\0"
    data = SIGNATURE + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    assert np.abs(pixels(data) - RAMP).max() <= 1


def test_interlaced_and_with_one_transparent_level():
    data = encoded(Image.fromarray(RAMP), transparency=0)
    assert np.array_equal(pixels(data), RAMP)
    bilevel = encoded(Image.fromarray(RAMP > 100))
    assert set(np.unique(pixels(bilevel))) == {0, 255}
