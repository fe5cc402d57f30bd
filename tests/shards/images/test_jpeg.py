import io

import numpy as np
import pytest
from PIL import Image

from shards.images import jpeg
from shards.images.refusal import ImageError
from shards.images.store import ImageSpec, store_image
from tests.shards.dicom_files import jpeg_12_bit, lossless_jpeg
from tests.shards.images.pictures import NOISE, RAMP, encoded, flipped

GRAY = Image.fromarray(NOISE)
SPEC = ImageSpec(size=120, format="png")


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(store_image(data, SPEC).data))).astype(int)


def two_pictures(image):
    """A file of two JPEGs (multi-picture object), as phones and some scanners write."""
    return encoded(image, "MPO", save_all=True, append_images=[image.rotate(180)], quality=90)


CONTAINERS = {
    "gray": encoded(GRAY, "JPEG", quality=90),
    "colours": encoded(GRAY.convert("RGB"), "JPEG", quality=90),
    "progressive": encoded(GRAY, "JPEG", quality=90, progressive=True),
    "inks": encoded(GRAY.convert("CMYK"), "JPEG", quality=90),
    "two pictures": two_pictures(GRAY.convert("RGB")),
    "restarts": encoded(GRAY, "JPEG", quality=90, restart_marker_rows=2),
}


def refusal(data):
    """Why a file is refused; empty if it is not."""
    try:
        pixels(data)
    except ImageError as error:
        return error.reason
    return ""


@pytest.mark.parametrize("name", CONTAINERS)
def test_damage_inside_is_found_in_whatever_jpeg_comes(name):
    data = CONTAINERS[name]
    assert np.abs(pixels(data) - NOISE).mean() < 10
    end = data.index(b"\xff\xd9", data.index(b"\xff\xda"))
    positions = range(data.index(b"\xff\xda") + 20, end - 4, max(1, end // 60))
    reasons = [refusal(flipped(data, position)) for position in positions]
    assert set(reasons) <= {"damaged", ""}
    # of progressive ones the last scans are bits of single coefficients, which nothing depends on
    assert reasons.count("damaged") > (0.5 if name == "progressive" else 0.8) * len(positions)


def with_junk(data, junk=b"\0junk\0"):
    """Stray bytes between the segments of the header."""
    for marker in (b"\xff\xc0", b"\xff\xda"):
        data = data.replace(marker, junk + marker, 1)
    return data


def test_junk_in_the_header_is_no_damage():
    clean = encoded(Image.fromarray(RAMP), "JPEG", quality=90)
    assert np.array_equal(pixels(with_junk(clean)), pixels(clean))
    wrong_scan = clean.replace(b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00", b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00")
    assert wrong_scan != clean
    assert np.array_equal(pixels(wrong_scan), pixels(clean)), "some devices leave the range of coefficients out"
    with pytest.raises(ImageError) as caught:
        pixels(flipped(with_junk(encoded(GRAY, "JPEG", quality=90)), 900))
    assert caught.value.reason == "damaged"


def segment(marker, body, length=None):
    return bytes([255, marker]) + (len(body) + 2 if length is None else length).to_bytes(2) + body


@pytest.mark.parametrize(
    "junk",
    [
        segment(0xE0, b"JFIF\0" + b"\x97" * 30),
        segment(0xE0, b"JFIF\0\1\1", 1),
        segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 9),
        segment(0xE1, b"Exif\0\0"),
        segment(0xE2, b"ICC_PROFILE\0\1\1no profile"),
        segment(0xE2, b"MPF\0II*\0\x08\0\0\0no pictures"),
        segment(0xED, b"Photoshop 3.0\x008BIM\4\4"),
        segment(0xFE, b"a comment", 7),
        segment(0xFE, b"a comment", 1),
    ],
)
def test_damaged_additions_are_no_damage(junk):
    clean = encoded(Image.fromarray(RAMP), "JPEG", quality=90)
    for position in (2, clean.index(b"\xff\xc0")):
        assert np.array_equal(pixels(clean[:position] + junk + clean[position:]), pixels(clean))


def test_junk_and_padding_together():
    data = with_junk(encoded(Image.fromarray(RAMP), "JPEG", quality=90))
    assert np.abs(pixels(data[:-2] + b"\0\0\0" + data[-2:]) - RAMP).mean() < 2


BLOCKS = np.kron(np.linspace(0, 4095, 300).astype(np.uint16).reshape(15, 20), np.ones((8, 8), np.uint16))


def test_kinds_that_pillow_does_not_know(capfd):
    assert np.abs(pixels(jpeg_12_bit(BLOCKS)) - BLOCKS / 4095 * 255).max() <= 1
    for bits in (8, 12, 16):
        deep = (BLOCKS >> 4).astype(np.uint8) if bits == 8 else BLOCKS << (bits - 12)
        assert np.abs(pixels(lossless_jpeg(deep, bits=bits)) - BLOCKS / 4095 * 255).max() <= 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("data", [jpeg_12_bit(BLOCKS), lossless_jpeg(BLOCKS, bits=12)])
def test_damage_in_deep_jpeg_is_found_before_a_decoder_that_carries_on(data):
    with pytest.raises(ImageError) as caught:
        pixels(data[: len(data) // 2] + data[-2:])
    assert caught.value.reason == "damaged"
    with pytest.raises(ImageError):
        pixels(data[: len(data) // 2] + data[len(data) // 2 + 9 :])


def test_what_no_decoder_reads_is_named():
    two = bytearray(jpeg_12_bit(BLOCKS))
    two[two.index(b"\xff\xc1") + 9] = 2
    with pytest.raises(ImageError, match="2 samples a pixel") as caught:
        pixels(bytes(two))
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_missing_end_marker_is_no_damage_but_missing_pixels_are(options):
    clean = encoded(Image.fromarray(RAMP), "JPEG", quality=90, **options)
    assert np.array_equal(pixels(clean[:-2]), pixels(clean))
    assert np.array_equal(pixels(clean[:-1]), pixels(clean))
    for cut in (20, len(clean) // 3):
        assert refusal(clean[:-cut]) == "damaged"


def test_a_missing_end_marker_of_deep_jpeg_is_no_damage():
    for data in (jpeg_12_bit(BLOCKS), lossless_jpeg(BLOCKS, bits=12), lossless_jpeg(BLOCKS << 4, bits=16)):
        assert np.array_equal(pixels(data[: data.rindex(b"\xff\xd9")]), pixels(data))


@pytest.mark.parametrize("junk", [b"\xff\xfe\0\x06NAME", b"\xff\xef\0\x06NAME", b"\xff\xff", b"\xff\xd9"])
def test_what_stands_between_the_pixels_and_the_end_does_not_pass(junk):
    plain = encoded(Image.fromarray(RAMP), "JPEG", restart_marker_rows=1)
    spec = ImageSpec(size=100)
    assert store_image(plain, spec).data is plain
    stored = store_image(plain[:-2] + junk + plain[-2:], spec).data
    assert junk + plain[-2:] not in stored
    assert np.abs(np.asarray(Image.open(io.BytesIO(stored))).astype(int) - RAMP).mean() < 2


def test_arithmetic_coding_needs_its_end():
    """Its decoder turns any bits into some picture, and none as well."""
    steps, frame = bytes([0, *[8] * 64]), bytes([8, 0, 64, 0, 64, 1, 1, 0x11, 0])
    parts = [(0xDB, steps), (0xC9, frame), (0xCC, bytes([0, 0x10])), (0xDA, bytes([1, 1, 0, 0, 63, 0]))]
    head = b"".join(bytes([0xFF, kind]) + (len(body) + 2).to_bytes(2) + body for kind, body in parts)
    data = b"\xff\xd8" + head + bytes(range(1, 9))
    assert jpeg.decode_gray(data + b"\xff\xd9", width=64, height=64, scale=1.0)[0].shape == (64, 64)
    with pytest.raises(ImageError, match="its end is missing") as caught:
        jpeg.decode_gray(data, width=64, height=64, scale=1.0)
    assert caught.value.reason == "damaged"
