import numpy as np
import pytest
from PIL import Image

from shards.images.codestream import check_boxes, read_codestream, segments, with_colors, without_junk
from shards.images.refusal import ImageError
from shards.images.store import ImageSpec, store_image
from tests.shards.dicom_files import jpeg_12_bit, lossless_jpeg
from tests.shards.images.pictures import RAMP, encoded

GRAY = Image.fromarray(RAMP)
COLORS = GRAY.convert("RGB")


@pytest.mark.parametrize(
    ("data", "kind", "samples", "bits"),
    [
        (encoded(GRAY, "JPEG"), "dct", 1, 8),
        (encoded(COLORS, "JPEG", progressive=True), "dct", 3, 8),
        (encoded(GRAY.convert("CMYK"), "JPEG"), "dct", 4, 8),
        (jpeg_12_bit(np.zeros((104, 200), np.uint16))[:200], "dct", 1, 12),
        (lossless_jpeg(RAMP, bits=8)[:200], "lossless", 1, 8),
        (encoded(GRAY, "JPEG2000"), "jpeg-2000", 1, 8),
        (encoded(COLORS, "JPEG2000", no_jp2=True), "jpeg-2000", 3, 8),
        (encoded(Image.fromarray(RAMP.astype(np.uint16)), "JPEG2000"), "jpeg-2000", 1, 16),
    ],
)
def test_headers(data, kind, samples, bits):
    found = read_codestream(data)
    assert (found.kind, found.samples, found.bits, found.is_signed) == (kind, samples, bits, False)
    assert (found.width, found.height // 8) == (200, 13 if bits == 12 else 12)


def test_what_three_samples_are():
    assert read_codestream(encoded(COLORS, "JPEG")).colors == "YBR", "JFIF"
    bare = with_colors(encoded(COLORS, "JPEG"), "RGB")
    assert read_codestream(bare).colors == "RGB"
    assert read_codestream(with_colors(bare, "YBR")).colors == "YBR"


def test_junk_goes_and_what_is_needed_stays():
    data = encoded(GRAY, "JPEG", comment=b"PATIENT NAME")
    position = data.index(b"\xff\xc0")
    assert without_junk(data[:position] + b"\0\xff\0junk\xff" + data[position:]) == without_junk(data)
    assert b"PATIENT NAME" not in without_junk(data)
    assert without_junk(without_junk(data)) == without_junk(data)


@pytest.mark.parametrize("cut", [3, 20, 60])
def test_cut_headers_are_damage(cut):
    for data in (encoded(GRAY, "JPEG"), encoded(GRAY, "JPEG2000")):
        with pytest.raises(ImageError) as caught:
            read_codestream(data[:cut])
        assert caught.value.reason == "damaged"


def test_bombs_are_refused_by_their_header():
    data = bytearray(jpeg_12_bit(np.zeros((16, 16), np.uint16)))
    position = data.index(b"\xff\xc1") + 5
    data[position : position + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError, match="65,535") as caught:
        read_codestream(bytes(data))
    assert caught.value.reason == "too-large"


def boxed(**changes):
    """A JPEG 2000 file, one of whose boxes has another length."""
    data = bytearray(encoded(GRAY, "JPEG2000"))
    for name, length in changes.items():
        position = data.index(name.encode()) - 4
        data[position : position + 4] = length.to_bytes(4)
    return bytes(data)


@pytest.mark.parametrize(
    "changes", [{"ftyp": 0}, {"jp2h": 0}, {"ihdr": 0}, {"ihdr": 4}, {"colr": 0}, {"ftyp": 1}, {"jp2h": 1 << 31}]
)
def test_boxes_that_a_decoder_would_follow_for_ever(changes):
    with pytest.raises(ImageError, match="wrong length") as caught:
        store_image(boxed(**changes), ImageSpec(size=100))
    assert caught.value.reason == "damaged"


def test_boxes_as_they_may_be():
    check_boxes(boxed())
    check_boxes(boxed(jp2c=0))
    check_boxes(boxed() + b"\0")
    assert store_image(boxed(jp2c=0), ImageSpec(size=100)).width == 200


def test_a_jpeg_header_cut_anywhere_is_refused():
    whole = encoded(GRAY, "JPEG")
    *_, (_, scan, end) = segments(whole)
    frame = next(begin for marker, begin, _ in segments(whole) if marker == 0xC0)
    short = [whole[:frame] + b"\xff\xc0" + length.to_bytes(2) + bytes(length - 2) for length in range(2, 8)]
    for data in (*(whole[:length] for length in range(3, end)), *short, *(each + whole[scan:] for each in short)):
        with pytest.raises(ImageError, match="JPEG"):
            read_codestream(data)
    read_codestream(whole)
