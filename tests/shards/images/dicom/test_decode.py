import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from shards.images.dicom.decode import decode_dicom
from shards.images.dicom.signature import is_dicom
from shards.images.refusal import ImageError
from shards.images.store import ImageSpec, store_image
from tests.shards.dicom_files import dicom_bytes, dicom_dataset, report_bytes

RAMP = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
NOISY = np.clip(RAMP + np.random.default_rng(0).normal(0, 4, RAMP.shape), 0, 255).astype(np.uint8)


def deep(bits, *, dtype=np.uint16, offset=0):
    """The ramp over all of ``bits``."""
    return (np.rint(RAMP / 255.0 * (2**bits - 1)) + offset).astype(dtype)


def window(bits):
    return {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_a_window_over_all_values_shows_them_as_they_are(bits):
    pixels = RAMP if bits == 8 else deep(bits)
    got = decode_dicom(dicom_bytes(pixels, bits=bits, **window(bits)))
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - RAMP).max() <= 1


def test_monochrome1_is_inverted():
    got = decode_dicom(dicom_bytes(255 - RAMP, photometric="MONOCHROME1"))
    assert np.array_equal(got, RAMP)
    got = decode_dicom(dicom_bytes(4095 - deep(12), bits=12, photometric="MONOCHROME1", **window(12)))
    assert np.abs(got.astype(int) - RAMP).max() <= 1


def test_signed_values_and_rescale_come_before_the_window():
    pixels = deep(12, dtype=np.int16, offset=-2048)
    tags = {"RescaleSlope": 2, "RescaleIntercept": 4096, "WindowCenter": 4096, "WindowWidth": 8191}
    got = decode_dicom(dicom_bytes(pixels, bits=12, **tags))
    assert np.abs(got.astype(int) - RAMP).max() <= 1


@pytest.mark.parametrize(
    ("function", "at_center", "at_edge"), [("LINEAR", 128, 255), ("LINEAR_EXACT", 128, 255), ("SIGMOID", 128, 225)]
)
def test_window_functions(function, at_center, at_edge):
    pixels = np.full((16, 16), 2000, np.uint16)
    pixels[:, 8:] = 2500
    pixels[:, 12:] = 1400
    tags = {"WindowCenter": [2000, 1], "WindowWidth": [1000, 1], "VOILUTFunction": function}
    got = decode_dicom(dicom_bytes(pixels, bits=12, **tags)).astype(int)
    assert abs(got[0, 0] - at_center) <= 1
    assert abs(got[0, 8] - at_edge) <= 1
    assert got[0, 15] < 25


def lut(data, first, bits):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(data), first, bits])
    item.add_new("LUTData", "US", data)
    return Sequence([item])


def test_voi_lut_is_preferred_and_its_true_depth_found():
    table = (np.linspace(0, 1, 4096) ** 2 * 1023).astype(int).tolist()  # 10 bits, declared as 16
    got = decode_dicom(dicom_bytes(deep(12), bits=12, VOILUTSequence=lut(table, 0, 16), WindowCenter=1, WindowWidth=2))
    expected = np.rint((RAMP / 255.0) ** 2 * 255)
    assert np.abs(got - expected).max() <= 1


def test_modality_lut():
    table = (4095 - np.arange(4096)).tolist()
    tags = {"ModalityLUTSequence": lut(table, 0, 12), **window(12)}
    got = decode_dicom(dicom_bytes(4095 - deep(12), bits=12, **tags))
    assert np.abs(got.astype(int) - RAMP).max() <= 1


def test_without_a_window_the_extremes_are_cut_off():
    pixels = 1000 + deep(8) * 4
    pixels[0, :6] = 16383  # a marker of lead, under half a per cent at each end
    pixels[0, 6:12] = 0
    got = decode_dicom(dicom_bytes(pixels, bits=14)).astype(int)
    assert np.abs(got[1:] - RAMP[1:]).max() <= 4
    assert np.array_equal(decode_dicom(dicom_bytes(RAMP // 2)), RAMP // 2), "8-bit images are ready to be shown"
    assert decode_dicom(dicom_bytes(np.full((16, 16), 700, np.uint16), bits=12)).max() == 0


def test_padding_is_black_and_does_not_count():
    pixels = 1000 + deep(8) * 4
    pixels[:20] = 4000
    got = decode_dicom(dicom_bytes(pixels, bits=12, PixelPaddingValue=4000)).astype(int)
    assert got[:20].max() == 0
    assert np.abs(got[20:] - RAMP[20:]).max() <= 4


@pytest.mark.parametrize("width", [0, 1, ""])
def test_an_unusable_window_is_passed_over(width):
    got = decode_dicom(dicom_bytes(deep(12), bits=12, WindowCenter=2048, WindowWidth=width)).astype(int)
    assert np.abs(got - RAMP).max() <= 4


LOSSLESS = [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_transfer_syntaxes_give_the_stored_pixels(syntax, bits):
    pixels = NOISY if bits == 8 else np.clip(deep(bits) + (NOISY - 128.0) * 4, 0, 2**bits - 1).astype(np.uint16)
    plain = decode_dicom(dicom_bytes(pixels, bits=bits, **window(bits)))
    assert np.array_equal(decode_dicom(dicom_bytes(pixels, bits=bits, syntax=syntax, **window(bits))), plain)


def test_lossy_transfer_syntaxes():
    got = decode_dicom(dicom_bytes(RAMP, syntax=JPEGBaseline8Bit)).astype(int)
    assert np.abs(got - RAMP).mean() < 1
    got = decode_dicom(dicom_bytes(RAMP, syntax=JPEGBaseline8Bit, photometric="MONOCHROME1")).astype(int)
    assert np.abs(255 - got - RAMP).mean() < 1
    blocks = np.kron(deep(12)[::8, ::8], np.ones((8, 8), np.uint16))
    got = decode_dicom(dicom_bytes(blocks, bits=12, syntax=JPEGExtended12Bit, **window(12))).astype(int)
    assert np.array_equal(got, decode_dicom(dicom_bytes(blocks, bits=12, **window(12))))
    header = dicom_dataset(dicom_bytes(deep(12), bits=12, **window(12)))
    header.compress(JPEG2000, j2k_cr=[8], generate_instance_uid=False)
    assert np.abs(decode_dicom(saved(header)).astype(int) - RAMP).mean() < 1


def saved(header):
    buffer = io.BytesIO()
    header.save_as(buffer)
    return buffer.getvalue()


def test_deflated_and_big_endian():
    header = dicom_dataset(dicom_bytes(deep(12), bits=12, **window(12)))
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert np.abs(decode_dicom(saved(header)).astype(int) - RAMP).max() <= 1
    header = dicom_dataset(dicom_bytes(deep(12).byteswap(), bits=12, **window(12)))
    header.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, header, little_endian=False, implicit_vr=False)
    assert np.abs(decode_dicom(buffer.getvalue()).astype(int) - RAMP).max() <= 1


def test_color_becomes_gray():
    color = np.stack([RAMP, RAMP, RAMP], axis=2)
    got = decode_dicom(dicom_bytes(color, photometric="RGB")).astype(int)
    assert np.abs(got - RAMP).max() <= 1


def reason(data):
    with pytest.raises(ImageError) as caught:
        store_image(data, ImageSpec())
    return caught.value.reason


def test_what_cannot_be_packed_is_named():
    assert reason(report_bytes()) == "no-pixels"
    assert reason(dicom_bytes(np.stack([RAMP, RAMP]).reshape(-1, 96), NumberOfFrames=2, Rows=64)) == "multi-frame"
    assert reason(dicom_bytes(RAMP, Rows=30_000, Columns=30_000)) == "too-large"
    assert reason(dicom_bytes(RAMP)[:-900]) == "damaged"
    assert reason(dicom_bytes(RAMP)[:400]) == "no-pixels"
    whole = dicom_bytes(NOISY, syntax=JPEGLSLossless)
    assert reason(whole[: len(whole) // 2]) == "damaged"


def test_another_modality_is_refused_wherever_it_comes_from():
    assert reason(dicom_bytes(deep(12), bits=12, Modality="CT")) == "other-modality"
    assert reason(dicom_bytes(deep(12), bits=12, Modality="PR")) == "other-modality"
    for modality in ("CR", "DR", "RG", "OT", "SC", "dx", "", None):
        assert decode_dicom(dicom_bytes(deep(12), bits=12, Modality=modality)).max() == 255


def test_an_image_of_one_gray_level_is_blank():
    assert reason(dicom_bytes(np.full((64, 96), 700, np.uint16), bits=12)) == "blank"
    assert reason(dicom_bytes(np.full((64, 96), 7, np.uint8))) == "blank"
    padded = np.full((64, 96), 700, np.uint16)
    padded[:9] = 4000
    assert reason(dicom_bytes(np.full((64, 96), 9, np.uint16), bits=12, PixelPaddingValue=9)) == "blank"


def test_store_image_knows_dicom_by_its_bytes():
    data = dicom_bytes(deep(12), bits=12, **window(12))
    assert is_dicom(data)
    stored = store_image(data, ImageSpec(size=32))
    assert (stored.width, stored.height, stored.source_width, stored.source_height) == (48, 32, 96, 64)


@pytest.mark.parametrize("groups", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_how_an_enhanced_image_of_one_frame_is_shown(groups):
    shown, rescale, group = Dataset(), Dataset(), Dataset()
    shown.WindowCenter, shown.WindowWidth = 3096, 8191
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, -1000
    group.FrameVOILUTSequence, group.PixelValueTransformationSequence = Sequence([shown]), Sequence([rescale])
    header = dicom_dataset(dicom_bytes(deep(12), bits=12, NumberOfFrames=1, **{groups: Sequence([group])}))
    assert np.abs(decode_dicom(saved(header)).astype(int) - RAMP).max() <= 1
    header.WindowCenter, header.WindowWidth = 3096 + 8191, 2 * 8191
    assert decode_dicom(saved(header)).max() <= 128, "the image's own window comes first"


@pytest.mark.parametrize(("name", "kind"), [("Float", "FL"), ("DoubleFloat", "FD")])
def test_padding_of_floating_point_pixels(name, kind):
    values = RAMP / 255.0
    values[:9] = -9.0
    header = dicom_dataset(dicom_bytes(RAMP))
    del header.PixelData
    setattr(header, f"{name}PixelData", values.astype("<f4" if kind == "FL" else "<f8").tobytes())
    header.add_new(f"{name}PixelPaddingValue", kind, -9.0)
    got = decode_dicom(saved(header)).astype(int)
    assert got[:9].max() == 0
    assert np.abs(got[9:] - RAMP[9:]).max() <= 2


def test_files_that_are_cut_in_what_is_deflated_or_in_the_header():
    header = dicom_dataset(dicom_bytes(NOISY))
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = saved(header)
    for length in (250, 700, len(whole) // 2, len(whole) - 20):
        assert reason(whole[:length]) == "damaged"
    compressed = dicom_bytes(NOISY, syntax=RLELossless)
    for data, place in ((compressed[:-900], "pixel data"), (compressed[:250], "header")):
        with pytest.raises(ImageError, match=f"cut in its {place}"):
            decode_dicom(data)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (-1, 4095), (0.5, -100), (-2, 0)])
@pytest.mark.parametrize("padding", [None, 0, 4095])
def test_inversion_rescale_and_padding_together(photometric, slope, intercept, padding):
    pixels = np.clip(deep(12), 1, 4094)
    is_padding = np.zeros(pixels.shape, bool)
    tags = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    tags |= {"WindowCenter": 2048 * slope + intercept, "WindowWidth": 4096 * abs(slope)}
    if padding is not None:
        is_padding[:9] = True
        pixels[:9] = tags["PixelPaddingValue"] = padding
    values, width = pixels * float(slope) + intercept, tags["WindowWidth"]
    want = {
        "": (values - tags["WindowCenter"] + 0.5) / (width - 1) + 0.5,
        "LINEAR_EXACT": (values - tags["WindowCenter"]) / width + 0.5,
        "SIGMOID": 1 / (1 + np.exp(-4 * (values - tags["WindowCenter"]) / width)),
    }
    for function, shown in want.items():
        shown = np.clip(shown, 0, 1) if photometric == "MONOCHROME2" else 1 - np.clip(shown, 0, 1)
        got = decode_dicom(dicom_bytes(pixels, bits=12, photometric=photometric, VOILUTFunction=function, **tags))
        assert np.abs(got - np.where(is_padding, 0, shown * 255)).max() <= 1, function


def test_a_shape_of_the_presentation_changes_nothing():
    """In radiographs it repeats the photometric interpretation; where it contradicts, devices are known to have it
    wrong."""
    for photometric, want in (("MONOCHROME1", 255 - RAMP), ("MONOCHROME2", RAMP)):
        for shape in ("INVERSE", "IDENTITY", ""):
            assert np.array_equal(
                decode_dicom(dicom_bytes(RAMP, photometric=photometric, PresentationLUTShape=shape)), want
            )
