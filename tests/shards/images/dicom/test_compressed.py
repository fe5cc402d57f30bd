"""Compressed pixels, and headers that contradict them."""

import numpy as np
import openjpeg
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from shards.images.dicom.decode import decode_dicom
from shards.images.refusal import ImageError
from shards.images.store import ImageSpec, store_image
from tests.shards.dicom_files import dicom_bytes, dicom_dataset, encapsulated, lossless_jpeg
from tests.shards.images.dicom.pixels import DEEP, NOISY, WINDOW, changed, far, refused, saved
from tests.shards.images.pictures import NOISE, RAMP, encoded, flipped


def jpeg(image, **options):
    return encoded(Image.fromarray(image), "JPEG", quality=95, **options)


def compressed(frame, *, photometric="MONOCHROME2", fragments=1, **tags):
    header = dicom_dataset(dicom_bytes(RAMP, photometric=photometric))
    encapsulated(header, JPEGBaseline8Bit, frame, fragments=fragments)
    for name, value in tags.items():
        setattr(header, name, value)
    return saved(header)


def test_a_header_that_contradicts_its_jpeg():
    for tags in ({"Rows": 200, "Columns": 100}, {"Rows": 96}, {"BitsStored": 12, "BitsAllocated": 16, "HighBit": 11}):
        reason, message = refused(compressed(jpeg(RAMP), **tags))
        assert reason == "inconsistent"
        assert "compressed image has" in message
    assert far(compressed(jpeg(np.dstack([RAMP] * 3)))) <= 3, "colours said to be gray"
    assert far(compressed(jpeg(np.dstack([RAMP] * 3)), photometric="MONOCHROME1"), 255 - RAMP) <= 3
    assert far(compressed(jpeg(RAMP), photometric="RGB", SamplesPerPixel=3)) <= 3
    assert far(compressed(jpeg(RAMP), photometric="YBR_FULL_422", SamplesPerPixel=3)) <= 3
    assert far(compressed(jpeg(RAMP), Rows=None, Columns=None)) <= 3
    assert far(compressed(jpeg(RAMP), PixelRepresentation=1)) <= 3, "lossy JPEG has no sign"


@pytest.mark.parametrize("is_coded_signed", [False, True])
def test_where_header_and_stream_disagree_on_signs_the_film_is_not_torn(is_coded_signed):
    values = DEEP.astype(np.int16) - 2048
    stored = values if is_coded_signed else DEEP
    frame = openjpeg.encode(stored, bits_stored=12, photometric_interpretation=2)
    for said in (0, 1):
        header = dicom_dataset(dicom_bytes(DEEP, bits=12))
        encapsulated(header, JPEG2000Lossless, frame)
        header.PixelRepresentation = said
        assert np.corrcoef(decode_dicom(saved(header)).ravel(), RAMP.ravel())[0, 1] > 0.99
    # coded as unsigned, the bits of signed numbers are smooth in the header's reading, which stays
    frame = openjpeg.encode((values & 4095).astype(np.uint16), bits_stored=12, photometric_interpretation=2)
    header = dicom_dataset(dicom_bytes(values, bits=12, WindowCenter=0, WindowWidth=4096))
    encapsulated(header, JPEG2000Lossless, frame)
    assert far(saved(header)) <= 1


def test_what_a_jpeg_without_markers_codes_is_in_the_header():
    tinted = np.dstack([RAMP, RAMP // 2, 255 - RAMP])
    gray = np.asarray(Image.fromarray(tinted).convert("L")).astype(int)
    in_rgb = jpeg(tinted, keep_rgb=True, subsampling=0)
    bare = bytearray(in_rgb)
    position = bare.index(b"\xff\xc0") + 10
    bare[position : position + 9 : 3] = b"\1\2\3"
    scan = bare.index(b"\xff\xda") + 5
    bare[scan : scan + 6 : 2] = b"\1\2\3"
    if b"Adobe" in bare:
        start = bare.index(b"\xff\xee")
        del bare[start : start + 16]
    assert far(compressed(bytes(bare), photometric="RGB", SamplesPerPixel=3), gray) <= 4
    assert far(compressed(jpeg(tinted), photometric="RGB", SamplesPerPixel=3), gray) <= 4, "JFIF says otherwise"


def test_several_fragments_make_one_image():
    assert far(compressed(jpeg(RAMP), fragments=4)) <= 3
    for syntax in (JPEGLSLossless, JPEG2000Lossless, RLELossless):
        plain = decode_dicom(dicom_bytes(NOISY, bits=12, **WINDOW))
        header = dicom_dataset(dicom_bytes(NOISY, bits=12, syntax=syntax, **WINDOW))
        frame = next(pydicom.encaps.generate_frames(header.PixelData, number_of_frames=1))
        encapsulated(header, syntax, frame, fragments=3)
        assert np.array_equal(decode_dicom(saved(header)), plain)


def test_several_compressed_images_are_several_frames():
    header = dicom_dataset(compressed(jpeg(RAMP)))
    for has_table in (True, False):
        header.PixelData = encapsulate([jpeg(RAMP), jpeg(RAMP)], has_bot=has_table)
        assert refused(saved(header))[0] == "multi-frame"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.55", "1.2.840.10008.1.2.4.100", "1.2.3.4"])
def test_transfer_syntaxes_that_are_not_read_are_named(syntax):
    header = dicom_dataset(compressed(jpeg(RAMP)))
    header.file_meta.TransferSyntaxUID = syntax
    reason, message = refused(saved(header, implicit_vr=False, little_endian=True))
    assert reason == "unsupported"
    assert f"Transfer Syntax {syntax}" in message


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless])
def test_damage_inside_is_found(syntax):
    header = dicom_dataset(dicom_bytes(NOISE, syntax=syntax))
    frame = next(pydicom.encaps.generate_frames(header.PixelData, number_of_frames=1))
    half = len(frame) // 2
    for broken in (frame[:half], frame[:half] + frame[half + 400 :]):
        encapsulated(header, syntax, broken)
        assert refused(saved(header))[0] in ("damaged", "inconsistent")


def test_damage_in_a_jpeg_is_found_as_it_is_in_a_file_of_its_own():
    frame = jpeg(NOISE)
    positions = range(frame.index(b"\xff\xda") + 20, len(frame) - 4, len(frame) // 50)
    alone, inside = [], []
    for position in positions:
        broken = flipped(frame, position, 1)
        for found, data in ((alone, broken), (inside, compressed(broken))):
            try:
                store_image(data, ImageSpec(size=64))
                found.append(False)
            except ImageError:
                found.append(True)
    assert alone == inside
    assert sum(alone) > 0.5 * len(positions)


def test_lossless_jpeg_of_8_bits():
    header = dicom_dataset(dicom_bytes(RAMP))
    encapsulated(header, JPEGLosslessSV1, lossless_jpeg(RAMP, bits=8))
    assert far(saved(header)) == 0


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("bits", [8, 12])
def test_colours_in_every_lossless_syntax(syntax, bits):
    samples = np.dstack([RAMP, np.roll(RAMP, 30, axis=1), 255 - RAMP]).astype(np.uint8 if bits == 8 else np.uint16)
    samples = samples << (bits - 8)
    plain = dicom_bytes(samples, bits=bits, photometric="RGB")
    assert far(dicom_bytes(samples, bits=bits, photometric="RGB", syntax=syntax), decode_dicom(plain).astype(int)) == 0


def test_more_bits_than_stored_are_damage_in_compressed_pixels_but_for_padding():
    values = np.where(np.arange(200) < 40, 65535, DEEP).astype(np.uint16)
    plain, padded = (
        changed(dicom_bytes(values, bits=16, syntax=JPEGLSLossless, **WINDOW, **tags), BitsStored=12, HighBit=11)
        for tags in ({}, {"PixelPaddingValue": 65535})
    )
    reason, message = refused(plain)
    assert reason == "inconsistent"
    assert "Bits Stored 12" in message
    got = decode_dicom(padded).astype(int)
    assert got[:, :40].max() == 0
    assert np.abs(got[:, 40:] - RAMP[:, 40:]).max() <= 1
