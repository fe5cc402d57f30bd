"""Signed and unsigned pixels beside numbers of the header that are written with the other sign, against numpy."""

import jpeg_ls
import numpy as np
import openjpeg
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from shards.images.dicom.decode import decode_dicom
from tests.shards.dicom_files import dicom_bytes, dicom_dataset, encapsulated, lossless_jpeg
from tests.shards.images.dicom.pixels import NOISY, saved
from tests.shards.images.pictures import RAMP

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
PADDED = np.zeros(RAMP.shape, bool)
PADDED[:, :30] = PADDED[:20] = True
NOT_PADDED = np.zeros(RAMP.shape, bool)


def film(is_signed, bits):
    """12 bits of gray, from the lowest value of 12 bits, or from -3000 or 500 of 16."""
    lowest = (-2048 if is_signed else 0) if bits == 12 else (-3000 if is_signed else 500)
    return NOISY.astype(int) + lowest, lowest


def written(number, kind):
    """The same 16 bits as a number of the other sign."""
    return number % 65536 if kind == "US" else (number + 32768) % 65536 - 32768


def shown(values, lowest, *, padded):
    """What a window over the 4096 values from ``lowest`` shows."""
    return np.where(padded, 0.0, np.clip((values - lowest + 0.5 - 2048) / 4095 + 0.5, 0, 1) * 255)


def window(lowest, slope=1, intercept=0):
    return {"WindowCenter": (lowest + 2048) * slope + intercept, "WindowWidth": 4096 * slope}


def table(lowest, kind, order):
    item = Dataset()
    item.add_new("LUTDescriptor", kind, [4096, written(lowest, kind), 12])
    item.add_new("LUTData", "OW", np.arange(4096).astype(f"{order}u2").tobytes())
    return Sequence([item])


@pytest.mark.parametrize("kind", ["US", "SS"])
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=["explicit", "implicit", "big-endian"])
def test_numbers_of_either_sign_in_every_syntax(syntax, is_signed, bits, kind):
    values, lowest = film(is_signed, bits)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    padding = lowest if bits == 12 else -32768 if is_signed else 65535
    last = padding - 10 if padding > 32768 else padding + 10
    values = np.where(PADDED, np.where(np.arange(200) % 2, padding, last), np.maximum(values, lowest + 11))
    ways = {
        "window": window(lowest),
        "rescale": {**window(lowest, 2, -100), "RescaleSlope": 2, "RescaleIntercept": -100},
        "VOI LUT": {"VOILUTSequence": table(lowest, kind, order)},
        "modality LUT": {"ModalityLUTSequence": table(lowest, kind, order), **window(0)},
    }
    for name, tags in ways.items():
        header = dicom_dataset(dicom_bytes(values.astype("i2" if is_signed else "u2"), bits=bits, **tags))
        for keyword, number in (
            ("PixelPaddingValue", padding),
            ("PixelPaddingRangeLimit", last),
            ("SmallestImagePixelValue", lowest + 11),
            ("LargestImagePixelValue", int(values.max())),
        ):
            header.add_new(keyword, kind, written(number, kind))
        header.file_meta.TransferSyntaxUID = syntax
        header["PixelData"].VR = "OW"
        header.PixelData = values.astype(f"{order}{'i2' if is_signed else 'u2'}").tobytes()
        data = saved(header, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=order == "<")
        far = np.abs(decode_dicom(data) - shown(values, lowest, padded=PADDED))
        assert far.max() <= 1, name


def test_a_range_of_padding_on_both_sides_of_zero():
    values = np.where(PADDED, np.where(np.arange(200) % 2, -50, 50), NOISY.astype(int) + 100)
    for kind in ("US", "SS"):
        header = dicom_dataset(dicom_bytes(values.astype("i2"), bits=16, **window(100)))
        header.add_new("PixelPaddingValue", kind, written(-50, kind))
        header.add_new("PixelPaddingRangeLimit", kind, 50)
        assert np.abs(decode_dicom(saved(header)) - shown(values, 100, padded=PADDED)).max() <= 1


def as_jpeg_2000(values, bits, *, is_signed):
    bits_of = values.astype("i2") if is_signed else (values & (1 << bits) - 1).astype("u2")
    return openjpeg.encode(bits_of, bits_stored=bits, photometric_interpretation=2)


STREAMS = {  # the bits of signed numbers, in streams that say they are signed, or not, or cannot say
    "JPEG 2000, signed": (JPEG2000Lossless, lambda values, bits: as_jpeg_2000(values, bits, is_signed=True)),
    "JPEG 2000": (JPEG2000Lossless, lambda values, bits: as_jpeg_2000(values, bits, is_signed=False)),
    "JPEG-LS": (JPEGLSLossless, lambda values, bits: bytes(jpeg_ls.encode_array((values % 65536).astype("u2")))),
    "JPEG Lossless": (
        JPEGLosslessSV1,
        lambda values, bits: lossless_jpeg((values & (1 << bits) - 1).astype("u2"), bits=bits),
    ),
}


@pytest.mark.parametrize("has_padding", [False, True])
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(("is_signed", "said"), [(True, True), (False, False), (False, True), (True, False)])
def test_what_compressed_pixels_and_the_header_say_of_signs(stream, is_signed, said, bits, has_padding):
    if (is_signed and stream == "JPEG-LS" and bits == 12) or (not is_signed and stream == "JPEG 2000, signed"):
        return  # cannot be coded
    if is_signed and not said and stream != "JPEG 2000, signed":
        return  # header and stream agree on what is wrong
    values, lowest = film(is_signed, bits)
    padding = lowest if bits == 12 else -32768 if is_signed else 65535
    padded = PADDED if has_padding else NOT_PADDED
    values = np.where(padded, padding, np.maximum(values, lowest + 1))
    syntax, encode = STREAMS[stream]
    header = dicom_dataset(dicom_bytes(values.astype("i2" if is_signed else "u2"), bits=bits, **window(lowest)))
    encapsulated(header, syntax, encode(values, bits))
    header.PixelRepresentation = int(said)
    for kind in ("US", "SS") if has_padding else ("",):
        if kind:
            header.add_new("PixelPaddingValue", kind, written(padding, kind))
        far = np.abs(decode_dicom(saved(header)) - shown(values, lowest, padded=padded))
        assert far.max() <= 1, kind


def test_the_edge_of_padding_does_not_decide_on_signs():
    """A bright film of positive numbers, framed by a negative one: unsigned, the frame would hardly show."""
    values = np.where(PADDED, -2000, NOISY.astype(int) // 8 + 1500)
    header = dicom_dataset(dicom_bytes(values.astype("i2"), bits=12, **window(-1024)))
    encapsulated(header, JPEG2000Lossless, as_jpeg_2000(values, 12, is_signed=False))
    header.add_new("PixelPaddingValue", "SS", -2000)
    assert np.abs(decode_dicom(saved(header)) - shown(values, -1024, padded=PADDED)).max() <= 1


def test_without_a_step_across_the_header_decides():
    values = np.repeat(np.arange(-50, 50), 200).reshape(100, 200) * 20
    header = dicom_dataset(dicom_bytes(values.astype("i2"), bits=12, **window(-2048)))
    encapsulated(header, JPEG2000Lossless, as_jpeg_2000(values, 12, is_signed=False))
    assert np.abs(decode_dicom(saved(header)) - shown(values, -2048, padded=NOT_PADDED)).max() <= 1


@pytest.mark.parametrize("kind", ["US", "SS"])
def test_padding_beyond_the_stored_bits_of_compressed_pixels(kind):
    values = np.where(PADDED, -32768, NOISY.astype(int) - 2048)
    header = dicom_dataset(dicom_bytes(values.astype("i2"), bits=16, syntax=RLELossless, **window(-2048)))
    header.BitsStored, header.HighBit = 12, 11
    header.add_new("PixelPaddingValue", kind, written(-32768, kind))
    assert np.abs(decode_dicom(saved(header)) - shown(values, -2048, padded=PADDED)).max() <= 1


@pytest.mark.parametrize("said", [0, 1])
def test_no_colours_are_below_zero(said):
    samples = np.dstack([RAMP, np.roll(RAMP, 40, axis=1), 255 - RAMP])
    gray = np.asarray(Image.fromarray(samples).convert("L")).astype(int)
    coded_signed = openjpeg.encode((samples.astype(int) - 128).astype(np.int8), photometric_interpretation=1)
    for syntax in (ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless):
        header = dicom_dataset(dicom_bytes(samples, photometric="RGB", syntax=syntax))
        if syntax == JPEG2000Lossless:
            encapsulated(header, syntax, coded_signed)
        header.PixelRepresentation = said
        assert np.abs(decode_dicom(saved(header)) - gray).max() <= 1
    neutral = np.full_like(RAMP, 128)
    header = dicom_dataset(dicom_bytes(np.dstack([RAMP, neutral, neutral]), photometric="YBR_FULL"))
    header.PixelRepresentation = said
    assert np.array_equal(decode_dicom(saved(header)), RAMP)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("is_signed", [False, True])
def test_a_few_values_beyond_the_stored_bits_are_cut_to_what_is_smoother(is_signed, syntax):
    """An overlay or damage in the bits above the image's, and values that are too bright for them."""
    values, lowest = film(is_signed, 12)
    others, bright = values.copy(), values.copy()
    others[50, 20:60] ^= 0x5000
    bright[60, 160:200] = lowest + 4095 + (2100 if is_signed else 30)
    values[60, 160:200] = lowest + 4095
    for changed, want in ((others, film(is_signed, 12)[0]), (bright, values)):
        header = dicom_dataset(
            dicom_bytes(changed.astype("i2" if is_signed else "u2"), bits=16, syntax=syntax, **window(lowest))
        )
        header.BitsStored, header.HighBit = 12, 11
        assert np.abs(decode_dicom(saved(header)) - shown(want, lowest, padded=NOT_PADDED)).max() <= 1
