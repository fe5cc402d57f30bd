"""Elements that say how an image is shown, in the shapes that devices write them."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian

from shards.images.dicom.decode import decode_dicom
from tests.shards.dicom_files import dicom_bytes, dicom_dataset
from tests.shards.images.pictures import RAMP

DEEP = np.rint(RAMP / 255.0 * 4095).astype(np.uint16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def far(data, want=RAMP):
    return np.abs(decode_dicom(data).astype(int) - want).max()


def raw(data, keyword, text):
    """The file with bytes in an element that its type does not allow."""
    header = dicom_dataset(data)
    tag = pydicom.datadict.tag_for_keyword(keyword)
    header.add_new(tag, "DS", "1.0")
    buffer = io.BytesIO()
    header.save_as(buffer)
    head = tag.to_bytes(4)[1::-1] + tag.to_bytes(4)[:1:-1] + b"DS"
    found = buffer.getvalue()
    position = found.index(head)
    text = text + b" " * (len(text) % 2)
    return found[: position + 6] + len(text).to_bytes(2, "little") + text + found[position + 12 :]


@pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("text", [b"", b" ", b"unknown", b"NaN", b"1e999", b"\\", b"\xff\xfe"])
def test_a_number_that_is_none_is_passed_over(keyword, text):
    shown = decode_dicom(raw(dicom_bytes(DEEP, bits=12, **WINDOW), keyword, text)).astype(int)
    assert np.abs(shown - RAMP).max() <= 4


def test_a_decimal_comma_is_a_point():
    data = dicom_bytes(DEEP, bits=12)
    assert far(raw(raw(data, "WindowCenter", b"2048,0"), "WindowWidth", b"4096,0")) <= 1


@pytest.mark.parametrize("function", ["", None, "LINEAR", "SQUARE", "linear "])
def test_an_unknown_function_is_linear(function):
    assert far(dicom_bytes(DEEP, bits=12, VOILUTFunction=function, **WINDOW)) <= 1


def test_the_first_usable_of_several_windows():
    tags = {"WindowCenter": [40, -6000, 2048], "WindowWidth": [0, 1600, 4096]}
    assert far(dicom_bytes(DEEP + 1, bits=13, **tags)) <= 1, "the first is none, the second shows white alone"
    assert far(dicom_bytes(DEEP, bits=12, WindowCenter=[2048], WindowWidth=[4096, 2000])) <= 1


@pytest.mark.parametrize("tags", [{"WindowCenter": 40, "WindowWidth": 400}, {"WindowCenter": 90_000, "WindowWidth": 9}])
def test_a_window_beside_the_image_is_passed_over(tags):
    values = 1000 + DEEP // 2
    values[0, :40] = 0  # a few pixels inside change nothing
    assert np.abs(decode_dicom(dicom_bytes(values, bits=12, **tags)).astype(int)[1:] - RAMP[1:]).max() <= 4


@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": 0, "RescaleIntercept": 0, **WINDOW},
        {"RescaleSlope": None, "RescaleIntercept": None, **WINDOW},
        {"RescaleSlope": None, "RescaleIntercept": -1000, "WindowCenter": 1048, "WindowWidth": 4096},
        {"RescaleSlope": 2, "RescaleIntercept": None, "WindowCenter": 4096, "WindowWidth": 8192},
        {"RescaleSlope": 1e-7, "RescaleIntercept": 0},
        {"RescaleSlope": 1, "RescaleIntercept": 1e6, **WINDOW},
    ],
)
def test_rescales_of_every_shape(tags):
    assert far(dicom_bytes(DEEP, bits=12, **tags)) <= 4


def test_padding_counts_in_no_window():
    padded = DEEP // 4 + 1000
    padded[:40] = 0
    tags = {"WindowCenter": 100, "WindowWidth": 200, "PixelPaddingValue": 0}
    got = decode_dicom(dicom_bytes(padded, bits=12, **tags)).astype(int)
    assert got[:40].max() == 0
    assert np.abs(got[40:] - RAMP[40:]).max() <= 4, "the window parts padding from the image, and shows nothing else"


@pytest.mark.parametrize(
    ("tags", "value"),
    [
        ({"PixelPaddingValue": ("US", 63536)}, -2000),
        ({"PixelPaddingValue": ("SS", -2000)}, -2000),
        ({"PixelPaddingValue": ("US", 63536), "PixelPaddingRangeLimit": ("US", 63600)}, -1990),
        ({"PixelPaddingValue": ("SS", -2000), "PixelPaddingRangeLimit": ("US", None)}, -2000),
    ],
)
def test_padding_as_the_wrong_kind_of_number(tags, value):
    values = DEEP.astype(np.int16) // 4
    values[:40] = value
    header = dicom_dataset(dicom_bytes(values, bits=16))
    for keyword, (kind, number) in tags.items():
        header.add_new(pydicom.datadict.tag_for_keyword(keyword), kind, number)
    buffer = io.BytesIO()
    header.save_as(buffer)
    got = decode_dicom(buffer.getvalue()).astype(int)
    assert got[:40].max() == 0
    assert np.abs(got[40:] - RAMP[40:]).max() <= 4


def test_padding_of_unsigned_pixels_written_as_signed():
    values = DEEP * 8
    values[:40] = 65535
    header = dicom_dataset(dicom_bytes(values, bits=16))
    header.add_new("PixelPaddingValue", "SS", -1)
    buffer = io.BytesIO()
    header.save_as(buffer)
    got = decode_dicom(buffer.getvalue()).astype(int)
    assert got[:40].max() == 0
    assert np.abs(got[40:] - RAMP[40:]).max() <= 4


def test_padding_that_is_all_of_the_image_is_none():
    assert far(dicom_bytes(RAMP, PixelPaddingValue=0, PixelPaddingRangeLimit=255)) == 0


def lut(data, first=0, bits=12, *, kind="US", kind_of_first="US", descriptor=None):
    """A sequence of one table; ``descriptor`` stands for the one that the entries have."""
    item = Dataset()
    said = [len(data) % 65536, first, bits] if descriptor is None else descriptor
    item.add_new("LUTDescriptor", kind_of_first, said)
    item.add_new("LUTData", kind, data if isinstance(data, bytes) else list(data))
    return Sequence([item])


def words(entries, order="<"):
    return np.asarray(entries, f"{order}u2").tobytes()


LINE = np.arange(4096)
BYTES = (LINE >> 4).astype(np.uint8)
BOTH = pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])


def shown_by(sequence, keyword, white=4095):
    """Elements of a header that show the table's entries up to ``white``."""
    window = {"WindowCenter": (white + 1) / 2, "WindowWidth": white + 1}
    return {keyword: sequence, **(window if keyword[0] == "M" else {})}


@BOTH
@pytest.mark.parametrize(
    ("sequence", "white"),
    [
        (lut(LINE), 4095),
        (lut(words(LINE), kind="OW", descriptor=[4096, 0, 12]), 4095),
        (lut(BYTES.tobytes(), kind="OW", descriptor=[4096, 0, 8]), 255),
        (lut(BYTES.view("<u2"), descriptor=[4096, 0, 8]), 255),
        (lut(words(BYTES), kind="OW", descriptor=[4096, 0, 8]), 255),
        (lut(LINE, bits=16), 4095),
        (lut(LINE, bits=10), 4095),
        (lut(LINE, bits=0), 4095),
        (lut(LINE, descriptor=[0, 0, 16]), 4095),
        (lut(LINE, descriptor=[4096, 0]), 4095),
        (lut([*LINE, 65535, 65535], descriptor=[4096, 0, 12]), 4095),
    ],
)
def test_lookup_tables_that_can_be_used(keyword, sequence, white):
    assert far(dicom_bytes(DEEP, bits=12, **shown_by(sequence, keyword, white))) <= 1


@BOTH
def test_a_table_that_ends_too_early_is_used_if_the_image_does_too(keyword):
    short = lut(np.minimum(LINE * 2, 4095)[:2048], descriptor=[4096, 0, 12])
    assert far(dicom_bytes(DEEP // 2, bits=12, **shown_by(short, keyword))) <= 1


@BOTH
@pytest.mark.parametrize(
    "sequence",
    [
        Sequence([]),
        Sequence([Dataset()]),
        None,
        lut(LINE, descriptor=[]),
        lut(LINE, descriptor=[4096]),
        lut([], descriptor=[4096, 0, 12]),
        lut(b"", kind="OW", descriptor=[4096, 0, 12]),
        lut((4095 - LINE)[:3000], descriptor=[4096, 0, 12]),
    ],
)
def test_lookup_tables_that_cannot_be_used_are_passed_over(keyword, sequence):
    assert far(dicom_bytes(DEEP, bits=12, **{keyword: sequence}, **WINDOW)) <= 1


@BOTH
def test_a_table_of_one_level_is_passed_over(keyword):
    assert far(dicom_bytes(DEEP, bits=12, **{keyword: lut(np.full(4096, 7))}, **WINDOW)) <= 1


@pytest.mark.parametrize("first", [-2048, 63488])
@pytest.mark.parametrize("kind", ["US", "SS"])
@BOTH
def test_the_start_of_a_table_of_signed_values(keyword, first, kind):
    if (kind == "SS") != (first < 0):
        return
    values = DEEP.astype(np.int16) - 2048
    tags = {keyword: lut(LINE, first, kind_of_first=kind), **(WINDOW if keyword[0] == "M" else {})}
    assert far(dicom_bytes(values, bits=12, **tags)) <= 1


def test_the_start_of_a_table_of_unsigned_values_written_as_signed():
    tags = {"VOILUTSequence": lut(LINE, -25536, kind_of_first="SS")}  # 40000
    assert far(dicom_bytes(DEEP + 40000, bits=16, **tags)) <= 1


def test_a_second_table_if_the_first_is_none():
    sequence = Sequence([*lut(LINE, descriptor=[]), *lut(LINE)])
    assert far(dicom_bytes(DEEP, bits=12, VOILUTSequence=sequence)) <= 1


def test_tables_in_big_endian_files():
    for entries, bits in ((words(LINE, ">"), 12), (BYTES.view(np.uint16).byteswap().tobytes(), 8)):
        sequence = lut(entries, kind="OW", descriptor=[4096, 0, bits])
        header = dicom_dataset(dicom_bytes(DEEP.byteswap(), bits=12, VOILUTSequence=sequence))
        header.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, header, little_endian=False, implicit_vr=False)
        assert far(buffer.getvalue()) <= 1
