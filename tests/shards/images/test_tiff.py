import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from shards.images.store import ImageError, ImageSpec, store_image
from tests.shards.dicom_files import jpeg_12_bit
from tests.shards.images.pictures import NOISE, encoded, flipped
from tests.shards.images.pictures import RAMP as LEVELS

RAMP = LEVELS.astype(int)

SPEC = ImageSpec(size=100, format="png")


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(store_image(data, SPEC).data))).astype(int)


def tiff(samples, *, photometric=1, orientation=1, planes=1):
    """A TIFF of the array's type and byte order, written here for the types that Pillow does not write."""
    order = ">" if samples.dtype.byteorder == ">" else "<"
    height, width, number = (*samples.shape, 1)[:3]
    strips = number if planes == 2 else 1
    data = b"\0" * 8 + (np.moveaxis(samples, 2, 0) if planes == 2 else samples).tobytes()
    size = (len(data) - 8) // strips
    tags = {256: [width], 257: [height], 259: [1], 262: [photometric], 274: [orientation], 277: [number]}
    tags |= {278: [height], 284: [planes], 258: [8 * samples.dtype.itemsize] * number}
    tags |= {339: [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * number}
    tags |= {273: [8 + size * strip for strip in range(strips)], 279: [size] * strips}
    entries = []
    for tag, values in sorted(tags.items()):
        value = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            value, data = struct.pack(f"{order}I", len(data)), data + value
        entries.append(struct.pack(f"{order}HHI", tag, 4, len(values)) + value)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + b"\0" * 4
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", len(data)) + data[8:] + directory


SCALES = {"u1": 1, "u2": 16, "i2": 16, "u4": 16, "i4": 16, "f4": 1 / 255, "f8": 1 / 255}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", SCALES)
@pytest.mark.parametrize("photometric", [0, 1])
def test_every_type_of_sample_in_both_byte_orders(kind, order, photometric):
    data = tiff((RAMP * SCALES[kind]).astype(order + kind), photometric=photometric)
    want = RAMP if photometric else 255 - RAMP
    assert np.abs(pixels(data) - want).max() <= 2


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "f4", "f8"])
def test_negative_values_are_not_black(kind):
    values = (RAMP - 128.0) * {"i1": 1, "f4": 1 / 128, "f8": 1 / 128}.get(kind, 16)
    assert np.abs(pixels(tiff(values.astype("<" + kind))) - RAMP).max() <= 2


def test_the_upper_half_of_32_unsigned_bits():
    assert np.abs(pixels(tiff(RAMP.astype("<u4") * 16843009)) - RAMP).max() <= 1


def colors(kind):
    return np.dstack([RAMP * SCALES[kind[1:]]] * 3).astype(kind)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u2", "u4", "f4"])
def test_deep_colours(order, kind):
    assert np.abs(pixels(tiff(colors(order + kind), photometric=2)) - RAMP).max() <= 2


def test_deep_colours_in_a_form_that_no_decoder_reads_well_are_refused():
    for data in (tiff(colors("<u2"), photometric=2, planes=2), tiff(colors("<f4")[:, :, :2])):
        with pytest.raises(ImageError) as caught:
            pixels(data)
        assert caught.value.reason == "unsupported"


def test_orientation_of_types_that_pillow_does_not_read():
    for kind in ("<u2", "<f8"):
        got = pixels(tiff((RAMP / 255.0 * (4095 if kind == "<u2" else 1)).astype(kind), orientation=6))
        assert got.shape == (200, 100)
        assert np.abs(got - np.rot90(RAMP, -1)).max() <= 1


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"])
def test_compressions(compression):
    for image in (Image.fromarray(LEVELS), Image.fromarray(LEVELS.astype(np.uint16) * 16)):
        data = encoded(image, "TIFF", compression=compression)
        assert np.abs(pixels(data) - RAMP).max() <= 1


def test_damage_in_jpeg_inside_is_found():
    data = encoded(Image.fromarray(NOISE), "TIFF", compression="jpeg", quality=90)
    assert np.abs(pixels(data) - NOISE).mean() < 10
    middle = len(data) // 2
    with pytest.raises(ImageError) as caught:
        pixels(flipped(flipped(data, middle), middle + 1))
    assert caught.value.reason == "damaged"


def test_opencv_tells_nothing_on_the_terminal(capfd):
    with pytest.raises(ImageError):
        pixels(tiff((RAMP / 255.0).astype("<f2")))
    assert capfd.readouterr() == ("", "")
    assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_SILENT


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("photometric", [0, 1])
def test_samples_that_lie_without_gaps(bits, photometric):
    deep = np.rint(RAMP / 255.0 * (2**bits - 1)).astype(int)
    packed = np.packbits((deep[:, :, None] >> np.arange(bits - 1, -1, -1) & 1).reshape(100, -1).astype(np.uint8))
    whole = tiff(RAMP.astype("<u2"), photometric=photometric)  # whose samples are exchanged for the packed ones
    entry = struct.pack("<HHII", 258, 4, 1, 16)
    data = whole.replace(entry, struct.pack("<HHII", 258, 4, 1, bits))
    data = data[:8] + packed.tobytes() + data[8 + packed.nbytes :]
    data = data.replace(struct.pack("<HHII", 279, 4, 1, 40000), struct.pack("<HHII", 279, 4, 1, packed.nbytes))
    want = RAMP if photometric else 255 - RAMP
    assert np.abs(pixels(data) - want).max() <= 1


def test_a_tiff_without_its_table_is_cut():
    with pytest.raises(ImageError, match="tells no size") as caught:
        pixels(tiff(RAMP.astype("<u2"))[:20000])
    assert caught.value.reason == "damaged"


ENTRY = struct.pack("<HHII", 254, 4, 1, 0)


def paged(*kinds):
    """A TIFF of the ramp and of smaller copies, each page with its kind: 0 is the ramp's, 1 a copy's, 4 a mask's."""
    images = [Image.fromarray(LEVELS[:: 4 if kind else 1, :: 4 if kind else 1]) for kind in kinds]
    parts = encoded(images[0], "TIFF", save_all=True, append_images=images[1:], tiffinfo={254: 0}).split(ENTRY)
    assert len(parts) == len(kinds) + 1
    return parts[0] + b"".join(
        ENTRY[:8] + struct.pack("<I", kind) + part for kind, part in zip(kinds, parts[1:], strict=True)
    )


@pytest.mark.parametrize("kinds", [(0, 1), (1, 0), (1, 1, 0), (0, 4)])
def test_of_a_page_and_its_smaller_copies_the_page_is_read(kinds):
    assert np.array_equal(pixels(paged(*kinds)), RAMP)


def test_several_pages_are_refused():
    for deep in (LEVELS, LEVELS.astype(np.uint16) * 16):
        page = Image.fromarray(deep)
        with pytest.raises(ImageError, match="TIFF of 3 pages") as caught:
            pixels(encoded(page, "TIFF", save_all=True, append_images=[page, page]))
        assert caught.value.reason == "multi-frame"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", SCALES)
def test_big_tiff_in_both_byte_orders(order, kind):
    samples = (RAMP * SCALES[kind]).astype(order + kind)
    tags = {256: 200, 257: 100, 258: 8 * samples.dtype.itemsize, 259: 1, 262: 1, 273: 16, 277: 1, 278: 100}
    tags |= {279: samples.nbytes, 339: {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]}
    entries = b"".join(struct.pack(f"{order}HHQQ", tag, 16, 1, value) for tag, value in sorted(tags.items()))
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HHHQ", 43, 8, 0, 16 + samples.nbytes)
    data = head + samples.tobytes() + struct.pack(f"{order}Q", len(tags)) + entries + bytes(8)
    assert np.abs(pixels(data) - RAMP).max() <= 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff((RAMP / 255.0).astype("<f2")), "16 bits in floating point"),
        (tiff((RAMP / 255.0).astype("<f2"), photometric=0), "16 bits in floating point"),
        (tiff(np.dstack([RAMP] * 2).astype("<u2")), "2 values a pixel of 16 bits"),
        (tiff(colors("<u2"), photometric=2, planes=2), "each colour in a plane of its own"),
        (
            tiff(RAMP.astype("<u2")).replace(
                struct.pack("<HHII", 259, 4, 1, 1), struct.pack("<HHII", 259, 4, 1, 34712)
            ),
            "JPEG 2000",
        ),
        (
            tiff(RAMP.astype("<u1")).replace(
                struct.pack("<HHII", 259, 4, 1, 1), struct.pack("<HHII", 259, 4, 1, 65000)
            ),
            "no. 65000",
        ),
    ],
)
def test_what_is_not_read_is_named_with_the_remedy(data, words):
    with pytest.raises(ImageError, match=words) as caught:
        pixels(data)
    assert caught.value.reason == "unsupported"
    assert "save it as" in str(caught.value)


def test_jpeg_of_12_bits_inside_is_no_damage():
    stream = jpeg_12_bit(np.zeros((96, 200), np.uint16))
    whole = tiff(np.zeros((96, 200), np.uint8))
    data = whole.replace(struct.pack("<HHII", 259, 4, 1, 1), struct.pack("<HHII", 259, 4, 1, 7))
    data = data.replace(struct.pack("<HHII", 279, 4, 1, 96 * 200), struct.pack("<HHII", 279, 4, 1, len(stream)))
    data = data[:8] + stream + data[8 + len(stream) :]
    with pytest.raises(ImageError, match="JPEG of 12 bits inside") as caught:
        pixels(data)
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize("kind", SCALES)
def test_a_tiff_cut_in_its_pixels_is_damaged_whatever_they_are(kind):
    whole = tiff((RAMP * SCALES[kind]).astype("<" + kind))
    start = int.from_bytes(whole[4:8], "little")
    moved = whole[:4] + (8).to_bytes(4, "little") + whole[start:]  # the table first, as many programs write it
    entry = struct.pack("<HHII", 273, 4, 1, 8)
    moved = moved.replace(entry, struct.pack("<HHII", 273, 4, 1, len(moved)))
    assert np.abs(pixels(moved + whole[8:start]) - RAMP).max() <= 2
    with pytest.raises(ImageError, match="cut") as caught:
        pixels(moved + whole[8 : start // 2])
    assert caught.value.reason == "damaged"
