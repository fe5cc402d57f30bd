"""Images stored with 16 bits: the same picture as of 8, with what lies between its levels."""

import io

import numpy as np
import pytest
from PIL import Image

from shards.base.errors import InputError
from shards.images.store import ImageError, ImageSpec, store_image
from tests.shards.dicom_files import dicom_bytes
from tests.shards.images.pictures import NOISE, RAMP, encoded, png_chunk
from tests.shards.images.test_npy import saved

SHORT, HIGH = ImageSpec(size=100, format="png"), ImageSpec(size=100, format="png", depth=16)
GREY = np.tile(np.linspace(3, 252, 200), (100, 1)) + np.linspace(-2, 2, 100)[:, None]  # fractions of levels
SHADE = GREY / 255
DEEP = np.rint(65535 * SHADE).astype(np.uint16)
BITS_12 = np.rint(4095 * SHADE).astype(np.uint16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
NARROW = {"WindowCenter": 2000.5, "WindowWidth": 1001}


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.mode, np.asarray(image).astype(np.float64)


def colors_of_16_bits(gray):
    import cv2

    return cv2.imencode(".png", np.repeat(gray[:, :, None], 3, axis=2))[1].tobytes()


STEP_OF_12 = 255 / 4095
SOURCES = {
    "PNG of 16 bits": (encoded(Image.fromarray(DEEP)), GREY, 0.003),
    "PNG of 12 bits in 16": (encoded(Image.fromarray(BITS_12)), GREY, STEP_OF_12),
    "PNG of 16 bits, colours": (colors_of_16_bits(DEEP), GREY, 0.005),
    "TIFF": (encoded(Image.fromarray(DEEP), "TIFF"), GREY, 0.003),
    "TIFF, white is zero": (encoded(Image.fromarray(65535 - DEEP), "TIFF", tiffinfo={262: 0}), GREY, 0.005),
    "TIFF, floats": (encoded(Image.fromarray(SHADE.astype(np.float32)), "TIFF"), GREY, 0.003),
    "NumPy, floats": (saved(SHADE), GREY, 0.003),
    "NumPy, 12 bits": (saved(BITS_12), GREY, STEP_OF_12),
    "DICOM": (dicom_bytes(BITS_12, bits=12, **WINDOW), GREY, STEP_OF_12),
    "DICOM, white is zero": (
        dicom_bytes(4095 - BITS_12, bits=12, photometric="MONOCHROME1", **WINDOW),
        GREY,
        2 * STEP_OF_12,
    ),
    "DICOM, narrow window": (
        dicom_bytes(BITS_12, bits=12, **NARROW),
        np.clip((BITS_12 - 1500.0) / 1000 * 255, 0, 255),
        0.003,
    ),
    "PNG of 8 bits": (encoded(Image.fromarray(RAMP)), RAMP, 0.0),
    "JPEG of 8 bits": (encoded(Image.fromarray(RAMP), "JPEG", quality=100), RAMP, 2.0),
}


@pytest.mark.parametrize("name", SOURCES)
def test_levels_lie_where_8_bits_would_round_them(name):
    data, grey, tolerance = SOURCES[name]
    mode, deep = pixels(store_image(data, HIGH).data)
    assert mode == "I;16"
    assert np.abs(deep / 257 - grey).max() <= tolerance
    mode, short = pixels(store_image(data, SHORT).data)
    assert mode == "L"
    assert np.abs(deep / 257 - short).max() <= 0.5


def test_all_levels_of_a_window_stay_apart():
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for data in (dicom_bytes(values, bits=12, **WINDOW), encoded(Image.fromarray(values)), saved(values)):
        deep = pixels(store_image(data, HIGH).data)[1]
        assert (np.diff(deep.ravel()) >= 15).all()
        assert (deep.min(), deep.max()) == (0, 65535)


def test_making_smaller_keeps_what_lies_between():
    small = {"size": 40, "format": "png"}
    exact = np.asarray(
        Image.fromarray(GREY.astype(np.float32)).resize((80, 40), Image.Resampling.BICUBIC, reducing_gap=3.0)
    )
    data = saved(SHADE)
    deep, short = (pixels(store_image(data, ImageSpec(depth=depth, **small)).data)[1] for depth in (16, 8))
    assert np.abs(deep / 257 - exact).max() < 0.01
    assert np.abs(deep / 257 - short).max() < 1.01
    of_8 = store_image(encoded(Image.fromarray(NOISE)), ImageSpec(depth=16, **small)).data
    assert (pixels(of_8)[1] % 257 != 0).any(), "also of 8 bits"
    assert pixels(of_8)[1].max() <= 65535


def test_a_turned_picture_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = store_image(encoded(Image.fromarray(RAMP), "JPEG", exif=exif), HIGH)
    assert (stored.width, stored.height, stored.is_on_its_side) == (100, 200, True)
    assert pixels(stored.data)[1].shape == (200, 100)


def test_what_is_stored_so_passes_as_it_is_where_it_uses_all_of_16_bits():
    data = encoded(Image.fromarray(DEEP))
    assert store_image(data, HIGH).data is data
    narrow = encoded(Image.fromarray(BITS_12))
    again = store_image(narrow, HIGH)
    assert np.abs(pixels(again.data)[1] / 16 - BITS_12).max() < 1, "12 bits are spread over 16"
    assert store_image(again.data, HIGH).data is again.data
    assert store_image(data, SHORT).data != data
    short = encoded(Image.fromarray(RAMP))
    assert store_image(short, HIGH).data != short
    named = data[:33] + png_chunk(b"tEXt", b"Name\0PATIENT") + data[33:]
    assert b"PATIENT" not in store_image(named, HIGH).data
    with pytest.raises(ImageError, match="truncated PNG"):
        store_image(data[:-20], HIGH)


def test_thumbnails_are_those_of_8_bits():
    for data in (saved(SHADE), encoded(Image.fromarray(NOISE))):
        deep, short = (np.frombuffer(store_image(data, spec).thumbnail, np.uint8) for spec in (HIGH, SHORT))
        assert np.abs(deep.astype(int) - short).max() <= 1


def test_even_pictures_are_refused_and_jpeg_cannot_hold_16_bits():
    with pytest.raises(ImageError, match=r"one gray level \(32896 of 65535\)"):
        store_image(encoded(Image.fromarray(np.full((20, 20), 128, np.uint8))), HIGH)
    with pytest.raises(InputError, match="--depth 16: JPEG holds 8 bits"):
        ImageSpec(depth=16)


def test_what_was_packed_before_keeps_its_digest():
    assert repr(ImageSpec()) == "ImageSpec(size=320, square=False, format='jpeg', quality=95)"
