import io
import pickle
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from shards.base.errors import InputError
from shards.images import jpeg
from shards.images.store import ImageError, ImageSpec, store_image
from tests.shards.images.pictures import NOISE, RAMP, encoded


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


@pytest.mark.parametrize("size", [(1161, 901), (1160, 900)])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("is_square", [False, True])
def test_reduced_decoding_differs_less_than_storing_does(size, orientation, is_square):
    """Against decoding in full: for sizes that are no multiple of 8 too, however the image is turned."""
    random = np.random.default_rng(0)
    detail = Image.fromarray(random.integers(0, 255, (60, 80), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(detail, "JPEG", quality=95, exif=exif)
    spec = ImageSpec(size=128, square=is_square, format="png")
    with Image.open(io.BytesIO(data)) as whole:
        reference = pixels(store_image(encoded(ImageOps.exif_transpose(whole)), spec).data)
    got = pixels(store_image(data, spec).data)
    assert got.shape == reference.shape
    lossy = pixels(store_image(encoded(Image.fromarray(reference.astype(np.uint8))), ImageSpec(size=128)).data)
    assert np.abs(got - reference).mean() < max(0.7, np.abs(lossy - reference).mean())


def test_square_is_the_largest_in_the_middle():
    wide = Image.fromarray(np.hstack([np.full((100, 50), 10), RAMP, np.full((100, 50), 240)]).astype(np.uint8))
    stored = store_image(encoded(wide), ImageSpec(size=50, square=True, format="png"))
    assert (stored.width, stored.height, stored.source_width) == (50, 50, 300)
    expected = np.asarray(wide.crop((100, 0, 200, 100)).resize((50, 50), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(pixels(stored.data) - expected).max() <= 1
    stored = store_image(encoded(wide), ImageSpec(size=160, square=True))
    assert (stored.width, stored.height) == (160, 160), "all images have one size"
    square = encoded(Image.fromarray(RAMP[:, :100]), "JPEG")
    assert store_image(square, ImageSpec(size=100, square=True)).data is square


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
    noise = Image.fromarray(NOISE)
    data = encoded(noise, format)
    with pytest.raises(ImageError) as caught:
        store_image(data[: len(data) // 2], ImageSpec(size=100))
    assert caught.value.reason == "damaged"


def with_segment(data, marker, body):
    """A JPEG with one more segment behind its first."""
    return data[:20] + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body + data[20:]


@pytest.mark.parametrize("marker", [0xE1, 0xED, 0xEF, 0xFE])
def test_jpegs_pass_only_without_anything_that_may_name_the_patient(marker):
    data = encoded(in_mode("L"), "JPEG")
    assert jpeg.plain_size(data) == (200, 100)
    for other in (with_segment(data, marker, b"PATIENT NAME"), data + b"PATIENT NAME"):
        stored = store_image(other, ImageSpec(size=100))
        assert b"PATIENT NAME" not in stored.data
        assert np.abs(pixels(stored.data) - RAMP).mean() < 2
    assert jpeg.plain_size(encoded(in_mode("RGB"), "JPEG")) is None


def test_pngs_pass_only_without_anything_that_may_name_the_patient():
    data = encoded(in_mode("L"))
    spec = ImageSpec(size=100, format="png")
    assert store_image(data, spec).data is data
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "PATIENT NAME")
    for other in (encoded(in_mode("L"), pnginfo=info), data + b"PATIENT NAME"):
        assert b"PATIENT NAME" not in store_image(other, spec).data


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000"])
def test_what_an_image_is_shows_in_its_bytes_not_its_name(format):
    stored = store_image(encoded(in_mode("L"), format), ImageSpec(size=100, format="png"))
    assert np.abs(pixels(stored.data) - RAMP).mean() < 3


def test_tiff_with_white_as_zero_and_turned():
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    stored = store_image(encoded(deep, "TIFF", tiffinfo={262: 0}), ImageSpec(size=100, format="png"))
    assert np.abs(pixels(stored.data) - (255 - RAMP)).max() <= 2
    turned = store_image(encoded(in_mode("L"), "TIFF", tiffinfo={0x0112: 6}), ImageSpec(size=100, format="png"))
    assert (turned.width, turned.height) == (100, 200)
    assert np.array_equal(pixels(turned.data), np.rot90(RAMP, -1))


def reason(data):
    with pytest.raises(ImageError) as caught:
        store_image(data, ImageSpec(size=100, format="png"))
    assert str(caught.value)
    return caught.value.reason


def test_a_corrupt_png_chunk_is_found():
    data = encoded(Image.fromarray(NOISE))
    assert store_image(data, ImageSpec(size=100, format="png")).data is data
    for position in (20, len(data) // 2, len(data) - 20, len(data) - 6):
        changed = bytearray(data)
        changed[position] ^= 1
        assert reason(bytes(changed)) in ("damaged", "not-an-image")
    assert reason(data[:-12]) == "damaged"


def test_a_jpeg_damaged_inside_is_found_and_stray_bytes_are_not_damage():
    noise = Image.fromarray(NOISE)
    data = encoded(noise, "JPEG", quality=90)
    middle = len(data) // 2
    assert reason(data[:middle] + b"\xff\xd9") == "damaged"
    assert reason(data[:middle] + data[middle + 400 :]) == "damaged"
    stray = data[:-2] + b"\0\0\0" + data[-2:]
    assert pixels(store_image(stray, ImageSpec(size=100)).data).shape == (100, 200)


def test_most_changes_of_a_jpeg_are_found():
    """Coded pixels have no checksum: a change shows if the decoder stumbles or has bytes left over."""
    noise = Image.fromarray(NOISE)
    data = encoded(noise, "JPEG", quality=90)
    num_found = 0
    for position in range(700, len(data) - 10, 101):
        changed = bytearray(data)
        changed[position] ^= 0x55
        try:
            store_image(bytes(changed), ImageSpec(size=100))
        except ImageError:
            num_found += 1
    assert num_found > 0.9 * len(range(700, len(data) - 10, 101))


def bomb(format, side=30_000):
    """A header of 30,000 x 30,000 pixels before the pixels of a small image."""
    data = bytearray(encoded(in_mode("L"), format))
    if format == "PNG":
        data[16:24] = side.to_bytes(4) * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    else:
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = side.to_bytes(2) * 2
    return bytes(data)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("side", [30_000, 10_000])
def test_decompression_bombs_are_refused_before_decoding(format, side):
    tracemalloc.start()
    assert reason(bomb(format, side)) == "too-large"
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (7, 7)])
def test_what_shows_nothing_is_refused(size):
    assert reason(encoded(Image.new("L", size))) == "too-small"


def test_errors_survive_the_way_from_a_worker():
    error = pickle.loads(pickle.dumps(ImageError("damaged", "broken")))
    assert (error.reason, str(error)) == ("damaged", "broken")


def white_but(values):
    """Colours of which only the transparency shows the picture, and the like."""
    return np.dstack([np.full((100, 200), 255, np.uint8), values])


@pytest.mark.parametrize("level", [0, 99, 255])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF"])
def test_an_image_of_one_gray_level_is_blank(format, level):
    assert reason(encoded(Image.new("L", (200, 100), level), format)) == "blank"
    plain = encoded(Image.new("L", (100, 100), level), "JPEG")
    with pytest.raises(ImageError, match=f"one gray level \\({level} of 255\\)"):
        store_image(plain, ImageSpec(size=100))


def test_a_picture_in_the_transparency_alone_is_blank():
    assert reason(encoded(Image.fromarray(white_but(RAMP), "LA"))) == "blank"
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (100, 50)))
    data = encoded(stripes, "JPEG", quality=100)
    assert store_image(data, ImageSpec(size=100)).data is data, "even at an eighth of the size, but not blank"


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"hello", "not-an-image")])
def test_what_is_no_image(data, reason):
    with pytest.raises(ImageError) as caught:
        store_image(data, ImageSpec())
    assert caught.value.reason == reason


@pytest.mark.parametrize(("field", "value"), [("size", 2), ("size", 9000), ("quality", 0), ("quality", 101)])
def test_settings_out_of_range(field, value):
    with pytest.raises(InputError, match=f"--{field} {value}"):
        ImageSpec(**{field: value})


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "a pointer of Git LFS"),
        (b"%PDF-1.4\n", "a PDF"),
        (b"\x1f\x8b\x08\0", "a gzip"),
    ],
)
def test_what_lies_in_place_of_a_picture_is_named(data, what):
    with pytest.raises(ImageError, match=what) as caught:
        store_image(data, ImageSpec())
    assert caught.value.reason == "not-an-image"
