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


def png(rows, *, bits=8, colors=0, chunks=b"", is_interlaced=False):
    """A PNG of 200 x 100 by hand: ``rows`` are bytes without the filter's."""
    head = (200).to_bytes(4) + (100).to_bytes(4) + bytes([bits, colors, 0, 0, is_interlaced])
    pixel_bytes = zlib.compress(b"".join(b"\0" + row for row in rows))
    return SIGNATURE + png_chunk(b"IHDR", head) + chunks + png_chunk(b"IDAT", pixel_bytes) + png_chunk(b"IEND", b"")


def test_pixels_that_end_early_are_damage_and_a_black_border_is_none():
    rows = [row.tobytes() for row in RAMP]
    assert np.array_equal(pixels(png(rows)), RAMP)
    for count in (30, 99):
        with pytest.raises(ImageError, match="end before its last row") as caught:
            pixels(png(rows[:count]))
        assert caught.value.reason == "damaged"
    black = [*rows[:98], bytes(200), bytes(200)]
    assert pixels(png(black))[97:].max(axis=1).tolist() == [RAMP[97].max(), 0, 0]


def interlaced(film):
    """The rows of the seven passes."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return [row.tobytes() for left, top, across, down in passes for row in film[top::down, left::across]]


def test_interlaced_pixels_that_end_early_are_damage():
    film = RAMP.copy()
    film[98:] = 0
    rows = interlaced(film)
    assert np.array_equal(pixels(png(rows, is_interlaced=True)), film)
    with pytest.raises(ImageError, match="end before its last row"):
        pixels(png(rows[:-50], is_interlaced=True))


@pytest.mark.parametrize("palette", [b"", b"\0\0\0\xff\xff\xff"])
def test_colours_that_the_palette_lacks_are_damage(palette):
    with pytest.raises(ImageError, match="with a palette of") as caught:
        pixels(png([row.tobytes() for row in RAMP], colors=3, chunks=png_chunk(b"PLTE", palette) if palette else b""))
    assert caught.value.reason == "damaged"


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"pHYs", b"cHRM", b"gAMA"])
def test_an_addition_that_pillow_cannot_read_is_left_out(kind):
    assert np.array_equal(pixels(with_chunk(png_chunk(kind, b"abc\0\1no deflate"))), RAMP)


def test_a_text_larger_than_pillow_allows_is_left_out():
    text = b"Comment\0\0" + zlib.compress(b" " * (1 << 24))
    assert np.array_equal(pixels(with_chunk(png_chunk(b"zTXt", text))), RAMP)


@pytest.mark.parametrize("is_interlaced", [False, True])
def test_a_png_passes_as_it_is_only_if_its_chunks_hold_nothing_but_its_pixels(is_interlaced):
    name = b"PATIENT NAME"
    plain = png(interlaced(RAMP), is_interlaced=True) if is_interlaced else encoded(Image.fromarray(RAMP))
    assert store_image(plain, SPEC).data is plain
    start = plain.index(b"IDAT") - 4
    packed = zlib.decompress(plain[start + 8 : -16])
    head, end = plain[:start], plain[-12:]
    assert store_image(head + png_chunk(b"IDAT", zlib.compress(packed)) + end, SPEC).data.startswith(head)
    for other in (
        head + png_chunk(b"IDAT", zlib.compress(packed) + name) + end,
        head + png_chunk(b"IDAT", zlib.compress(packed)) + png_chunk(b"IDAT", name) + end,
        head + png_chunk(b"IDAT", zlib.compress(packed + name.ljust(201, b"\0"), 0)) + end,
        plain[:-12] + png_chunk(b"IEND", name),
        SIGNATURE + png_chunk(b"IHDR", plain[16:29] + name) + plain[33:],
    ):
        assert store_image(other, SPEC).data.count(name) == 0
        assert np.array_equal(pixels(other), RAMP)
