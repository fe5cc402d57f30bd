import io

import numpy as np
import pytest
from PIL import Image

from shards.errors import InputError
from shards.image import ImageError, ImageSpec, store_image

RAMP = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (100, 1))


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "L"
        return np.asarray(image).astype(int)


def in_mode(mode):
    gray = Image.fromarray(RAMP)
    if mode == "P":
        return gray.convert("RGB").quantize(256)
    if mode == "I;16":
        return Image.fromarray(RAMP.astype(np.uint16) * 257)
    return gray.convert(mode)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_any_mode_becomes_the_same_gray(mode):
    stored = store_image(encoded(in_mode(mode)), ImageSpec(size=100, format="png"))
    assert (stored.width, stored.height) == (200, 100)
    assert np.abs(pixels(stored.data) - RAMP).max() <= 2


def test_bilevel_and_cmyk():
    stored = store_image(encoded(in_mode("1")), ImageSpec(size=100, format="png"))
    assert set(np.unique(pixels(stored.data))) <= {0, 255}
    stored = store_image(encoded(Image.fromarray(RAMP).convert("CMYK"), "JPEG", quality=95), ImageSpec(size=100))
    assert np.abs(pixels(stored.data) - RAMP).mean() < 4


def test_twelve_bits_in_sixteen_use_the_whole_range():
    deep = Image.fromarray(RAMP.astype(np.uint16) * 16)  # top value 4080 of 12 bits
    stored = store_image(encoded(deep), ImageSpec(size=100, format="png"))
    assert np.abs(pixels(stored.data) - RAMP).max() <= 2


def test_shorter_side_is_the_size_and_nothing_is_enlarged():
    stored = store_image(encoded(in_mode("L")), ImageSpec(size=50))
    assert (stored.width, stored.height, stored.source_width, stored.source_height) == (100, 50, 200, 100)
    stored = store_image(encoded(in_mode("L")), ImageSpec(size=320))
    assert (stored.width, stored.height) == (200, 100)


def test_downscaling_is_antialiased():
    stripes = Image.fromarray(np.tile(np.array([0, 255], dtype=np.uint8), (400, 200)))
    small = pixels(store_image(encoded(stripes), ImageSpec(size=40, format="png")).data)
    assert np.abs(small - 127)[:, 1:-1].max() < 12


@pytest.mark.parametrize("color", ["L", "RGB"])
def test_reduced_decoding_of_large_jpegs_is_not_seen(color):
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 255, (24, 30), dtype=np.uint8)).resize(
        (1500, 1200), Image.Resampling.BICUBIC
    )
    data = encoded(smooth.convert(color), "JPEG", quality=97)
    got = pixels(store_image(data, ImageSpec(size=100, format="png")).data)
    expected = np.asarray(smooth.resize((125, 100), Image.Resampling.BOX)).astype(int)
    assert np.abs(got - expected).mean() < 1.0


def test_exif_orientation_is_applied_and_exif_dropped():
    image = in_mode("L")
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 270 degrees to view
    exif[0x010E] = "PATIENT NAME"
    stored = store_image(encoded(image, "JPEG", exif=exif), ImageSpec(size=100))
    assert (stored.width, stored.height) == (100, 200)
    assert b"PATIENT NAME" not in stored.data
    assert pixels(stored.data)[:10].mean() < pixels(stored.data)[-10:].mean()


def test_what_is_already_stored_form_passes_byte_for_byte():
    data = encoded(in_mode("L"), "JPEG", quality=80)
    assert store_image(data, ImageSpec(size=100)).data is data
    assert store_image(data, ImageSpec(size=99)).data != data
    commented = encoded(in_mode("L"), "JPEG", comment=b"PATIENT NAME")
    assert b"PATIENT NAME" not in store_image(commented, ImageSpec(size=100)).data
    progressive = encoded(in_mode("L"), "JPEG", progressive=True)
    assert store_image(progressive, ImageSpec(size=100)).data != progressive


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_truncated_images_are_damaged(format):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (100, 200), dtype=np.uint8))
    data = encoded(noise, format)
    with pytest.raises(ImageError) as caught:
        store_image(data[: len(data) // 2], ImageSpec(size=100))
    assert caught.value.reason == "damaged"


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"hello", "not-an-image")])
def test_what_is_no_image(data, reason):
    with pytest.raises(ImageError) as caught:
        store_image(data, ImageSpec())
    assert caught.value.reason == reason


@pytest.mark.parametrize(("field", "value"), [("size", 2), ("quality", 0), ("quality", 101)])
def test_settings_out_of_range(field, value):
    with pytest.raises(InputError, match=f"--{field} {value}"):
        ImageSpec(**{field: value})
