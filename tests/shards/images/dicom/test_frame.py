"""Pixels and headers that disagree, or of which one does not tell all."""

import zlib

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from shards.images.dicom.decode import decode_dicom
from tests.shards.dicom_files import dicom_bytes, dicom_dataset
from tests.shards.images.dicom.pixels import DEEP, NOISY, WINDOW, changed, far, refused, saved
from tests.shards.images.pictures import RAMP


@pytest.mark.parametrize(
    "missing",
    [
        ("PhotometricInterpretation",),
        ("SamplesPerPixel",),
        ("BitsStored",),
        ("HighBit",),
        ("PixelRepresentation",),
        ("BitsAllocated",),
        ("SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "HighBit", "PixelRepresentation"),
    ],
)
def test_missing_elements_are_what_they_nearly_always_are(missing):
    deep = dicom_bytes(DEEP, bits=12, **WINDOW)
    assert far(changed(deep, *missing)) <= 1
    for name in missing:
        assert far(changed(deep, **{name: None})) <= 1, "empty"
    assert far(changed(dicom_bytes(RAMP), *missing)) <= 1
    assert far(changed(dicom_bytes(DEEP, bits=12, syntax=JPEGLSLossless, **WINDOW), *missing)) <= 1


def test_a_missing_transfer_syntax_is_told_from_the_bytes():
    for syntax in (ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless):
        bare = dicom_dataset(dicom_bytes(NOISY, bits=12, syntax=syntax, **WINDOW))
        del bare.file_meta.TransferSyntaxUID
        got = decode_dicom(saved(bare, implicit_vr=False, little_endian=True, enforce_file_format=False))
        assert np.array_equal(got, decode_dicom(dicom_bytes(NOISY, bits=12, **WINDOW)))


def test_no_preamble_or_no_meta_information():
    data = dicom_bytes(DEEP, bits=12, **WINDOW)
    header = dicom_dataset(data)
    del header.file_meta
    header.preamble = None
    assert far(data[128:]) <= 1, "from the letters DICM on"
    assert far(data[132:]) <= 1, "from the meta information on"
    assert far(bytes(128) + data[132:]) <= 1, "without the letters"
    for options in ({"implicit_vr": True}, {"implicit_vr": False}):
        bare = saved(header, little_endian=True, enforce_file_format=False, **options)
        assert bare[:2] == b"\x08\0"
        assert far(bare) <= 1


def test_deflated_data_that_do_not_end_with_the_pixels_are_damage():
    header = dicom_dataset(dicom_bytes(DEEP, bits=12, **WINDOW))
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = saved(header)
    assert far(whole) <= 1
    start = 132 + 12 + int(dicom_dataset(whole).file_meta.FileMetaInformationGroupLength)
    plain = zlib.decompress(whole[start:], -zlib.MAX_WBITS)
    padding = b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0"
    for extra, is_damage in ((b"", False), (padding, False), (b"\0", True), (b"\1\2\3\4", True)):
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = whole[:start] + deflate.compress(plain + extra) + deflate.flush()
        if is_damage:
            assert refused(data)[0] == "damaged"
        else:
            assert far(data) <= 1


def test_implicit_and_big_endian():
    header = dicom_dataset(dicom_bytes(DEEP, bits=12, **WINDOW))
    header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert far(saved(header, implicit_vr=True, little_endian=True)) <= 1
    header = dicom_dataset(dicom_bytes(RAMP))
    header.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    header["PixelData"].VR = "OB"
    assert far(saved(header, implicit_vr=False, little_endian=False)) == 0
    header.PixelData = RAMP.view(np.uint16).byteswap().tobytes()
    header["PixelData"].VR = "OW"
    assert far(saved(header, implicit_vr=False, little_endian=False)) == 0


def test_bits_at_the_upper_end_are_shifted_if_they_are():
    assert far(changed(dicom_bytes(DEEP << 4, bits=12, **WINDOW), HighBit=15)) <= 1
    assert far(changed(dicom_bytes(DEEP << 4 | 5, bits=12, **WINDOW), HighBit=15)) <= 1, "with something below"
    assert far(changed(dicom_bytes(DEEP, bits=12, **WINDOW), HighBit=15)) <= 1, "the header errs"
    signed = ((DEEP.astype(np.int16) - 2048) << 4).astype(np.int16)
    assert far(changed(dicom_bytes(signed, bits=12, WindowCenter=0, WindowWidth=4096), HighBit=15)) <= 1


def test_an_overlay_in_the_upper_bits_is_no_part_of_the_image():
    overlaid = DEEP.copy()
    overlaid[:30, :30] |= 0x8000
    header = dicom_dataset(dicom_bytes(overlaid, bits=12, **WINDOW))
    header.add_new((0x6000, 0x0100), "US", 16)
    header.add_new((0x6000, 0x0102), "US", 15)
    assert far(saved(header)) <= 1


def test_more_bits_than_the_header_says():
    assert far(changed(dicom_bytes(DEEP, bits=12, **WINDOW), BitsStored=8, HighBit=7)) <= 1
    hot = DEEP.copy()
    hot[0, :50] = 40000
    assert np.abs(decode_dicom(dicom_bytes(hot, bits=12, **WINDOW)).astype(int)[1:] - RAMP[1:]).max() <= 1
    assert far(changed(dicom_bytes(DEEP, bits=12, **WINDOW), BitsStored=20)) <= 1


def test_signed_values_whose_sign_is_carried_on_or_not():
    signed = DEEP.astype(np.int16) - 2048
    tags = {"bits": 12, "WindowCenter": 0, "WindowWidth": 4096}
    assert far(dicom_bytes(signed, **tags)) <= 1
    assert far(dicom_bytes(signed & 0x0FFF, **tags)) <= 1
    mixed = np.where(np.arange(200) % 2, signed, signed & 0x0FFF).astype(np.int16)
    assert far(dicom_bytes(mixed, **tags)) <= 1


def test_pixel_data_of_another_length_than_the_header_asks_for():
    whole = dicom_dataset(dicom_bytes(RAMP)).PixelData
    for times in (2, 3):
        reason, message = refused(changed(dicom_bytes(RAMP), PixelData=whole * times))
        assert reason == "inconsistent"
        assert f"{times} times as many" in message
    assert refused(changed(dicom_bytes(DEEP), BitsAllocated=8, BitsStored=8, HighBit=7))[0] == "inconsistent"
    assert refused(changed(dicom_bytes(RAMP), Columns=199))[0] == "inconsistent", "the image would be sheared"
    assert refused(changed(dicom_bytes(RAMP), PixelData=whole[:-200]))[0] == "damaged"
    assert far(changed(dicom_bytes(RAMP), PixelData=whole + b"\0" * 512)) == 0, "filled up to a block"
    assert far(changed(dicom_bytes(RAMP), PixelData=whole + b"ab")) == 0
    odd = RAMP[:99, :199]
    assert far(dicom_bytes(odd), odd) == 0


def colors():
    return np.dstack([RAMP, RAMP, RAMP])


@pytest.mark.parametrize(("scale", "bits"), [(1, 8), (16, 12), (16, 16), (257, 16)])
def test_colours_of_any_depth_and_order(scale, bits):
    samples = (colors().astype(np.uint16) * scale).astype(np.uint8 if bits == 8 else np.uint16)
    data = dicom_bytes(samples, bits=bits, photometric="RGB")
    assert far(data) <= 1
    planes = np.moveaxis(samples, 2, 0).tobytes()
    assert far(changed(data, PixelData=planes, PlanarConfiguration=1)) <= 1
    assert far(changed(data, "PlanarConfiguration")) <= 1
    assert far(changed(data, PhotometricInterpretation="MONOCHROME2")) <= 1, "three samples are colours"


def test_luminance_and_chroma():
    neutral = np.full_like(RAMP, 128)
    assert far(dicom_bytes(np.dstack([RAMP, neutral, neutral]), photometric="YBR_FULL")) == 0
    shared = np.stack([RAMP[:, ::2], RAMP[:, 1::2], neutral[:, ::2], neutral[:, 1::2]], axis=2)
    data = dicom_bytes(np.dstack([RAMP, neutral, neutral]), photometric="YBR_FULL_422")
    assert far(changed(data, PixelData=shared.tobytes())) == 0
    partial = np.rint(16 + RAMP / 255 * 219).astype(np.uint8)
    assert far(dicom_bytes(np.dstack([partial, neutral, neutral]), photometric="YBR_PARTIAL_422")) <= 1


def palette(bits, entries):
    tags = {}
    for color in ("Red", "Green", "Blue"):
        tags[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        tags[f"{color}PaletteColorLookupTableData"] = entries
    return tags


@pytest.mark.parametrize("kind", ["8 of 8", "8 of 16", "12 of 16", "16 of 16"])
def test_indexed_colours(kind):
    levels = np.arange(256)[::-1]
    used, bits = (int(number) for number in kind.split(" of "))
    data = (levels * {8: 1, 12: 16, 16: 257}[used]).astype(np.uint8 if bits == 8 else "<u2").tobytes()
    assert far(dicom_bytes(255 - RAMP, photometric="PALETTE COLOR", **palette(bits, data))) <= 1
    reason, message = refused(dicom_bytes(RAMP, photometric="PALETTE COLOR"))
    assert reason == "unsupported"
    assert "Red" in message


def test_segmented_indexed_colours():
    tags = {}
    for color in ("Red", "Green", "Blue"):
        tags[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        segments = np.array([0, 1, 0, 1, 255, 65535], "<u2")  # one entry of 0, then a line up to white
        tags[f"Segmented{color}PaletteColorLookupTableData"] = segments.tobytes()
    assert far(dicom_bytes(RAMP, photometric="PALETTE COLOR", **tags)) <= 1


def test_photometric_interpretations_that_are_not_read_are_named():
    assert refused(dicom_bytes(RAMP, photometric="HSV")) == ("unsupported", "DICOM of Photometric Interpretation HSV")
    assert far(dicom_bytes(RAMP, photometric="monochrome2 ")) == 0


@pytest.mark.parametrize("name", ["FloatPixelData", "DoubleFloatPixelData"])
def test_floating_point_pixels(name):
    header = dicom_dataset(dicom_bytes(RAMP))
    del header.PixelData
    setattr(header, name, (RAMP / 255.0).astype("<f4" if name[0] == "F" else "<f8").tobytes())
    assert far(saved(header)) <= 2
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = 0.5, 1, "LINEAR_EXACT"
    assert far(saved(header)) <= 1


def test_32_bits_and_one():
    header = dicom_dataset(dicom_bytes(RAMP))
    header.BitsAllocated, header.BitsStored, header.HighBit = 32, 32, 31
    header.PixelData = (RAMP.astype("<u4") * 100_000).tobytes()
    assert far(saved(header)) <= 2
    header.BitsAllocated, header.BitsStored, header.HighBit = 1, 1, 0
    header.PixelData = np.packbits(RAMP > 100, bitorder="little").tobytes()
    assert far(saved(header), (RAMP > 100) * 255) == 0
