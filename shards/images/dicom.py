"""DICOM radiographs as they are meant to be looked at: pixels only, nothing of the header.

Stored values of 8 to 16 bits go through the modality transform (rescale or LUT), then through the VOI LUT or the
window; where there is neither, the darkest and brightest half per cent are cut off (8-bit images are taken as they
are). MONOCHROME1 is inverted; padding is black. As there are at most 65,536 stored values, all this is one table.

pydicom decodes uncompressed and RLE images itself; JPEG comes through GDCM, JPEG-LS through CharLS (pyjpegls),
JPEG 2000 through OpenJPEG (pylibjpeg-openjpeg).
"""

import io
import logging
import warnings
from typing import Any

import gdcm  # type: ignore[import-untyped]
import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from shards.images.gray import ImageError, check_size, full_scale

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # headers of old devices break many rules
gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()

# Devices break many rules of headers that can be read all the same; what cannot be read is raised.
warnings.filterwarnings("ignore", module=r"pydicom\.")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

_PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"
_CUT = 0.005  # share of the pixels cut off at either end where the header gives no window
_PLUGINS = {
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    HTJ2KLossless: "pylibjpeg",
    HTJ2K: "pylibjpeg",
}
_READS_12_BIT_JPEG = "pylibjpeg" in get_decoder(JPEGExtended12Bit).available_plugins


def is_dicom(data: bytes) -> bool:
    """Whether these bytes begin as a DICOM file does."""
    return data[128:132] == b"DICM"


def decode_dicom(data: bytes) -> np.ndarray:
    """Gray pixels (H, W) uint8 of a DICOM image, black is air.

    Raises:
        ImageError: ``no-pixels``, ``multi-frame``, ``unsupported`` (more than 16 bits, lossy JPEG of 12, a
            photometric interpretation that is not of pictures), ``too-large``, ``too-small``, ``damaged``.
    """
    try:
        return _decode(data)
    except ImageError:
        raise
    except Exception as error:  # a damaged header or stream shows as any exception of pydicom or of its decoders
        raise ImageError("damaged", f"DICOM: {type(error).__name__}") from error  # its text may quote the header


def _decode(data: bytes) -> np.ndarray:
    header = pydicom.dcmread(io.BytesIO(data))
    if "PixelData" not in header and _PIXEL_DATA_TAG in data:
        raise ImageError("damaged", "DICOM: truncated pixel data")
    if "PixelData" not in header or not header.get("Rows") or not header.get("Columns"):
        raise ImageError("no-pixels", "DICOM without an image, such as a report or a presentation state")
    check_size(int(header.Columns), int(header.Rows))
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise ImageError("multi-frame", f"DICOM with {header.NumberOfFrames} frames; a radiograph has one")
    kind = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    syntax = header.file_meta.TransferSyntaxUID
    if syntax == JPEGExtended12Bit and header.BitsStored > 8 and not _READS_12_BIT_JPEG:
        raise ImageError("unsupported", "DICOM in lossy JPEG of 12 bits; pylibjpeg-libjpeg (GPL) reads it if installed")
    plugin = _PLUGINS.get(syntax, "")
    pixels = pixel_array(header, index=0, decoding_plugin=plugin)
    if kind == "PALETTE COLOR":
        colors = apply_color_lut(pixels, header)
        return _luminance(colors >> 8 if colors.dtype == np.uint16 else colors)
    if pixels.ndim == 3:
        return _luminance(pixels)
    if not kind.startswith("MONOCHROME"):
        raise ImageError("unsupported", f"DICOM with photometric interpretation {kind}")
    if pixels.dtype.itemsize > 2 or int(header.BitsStored) > 16:
        raise ImageError("unsupported", f"DICOM with {header.BitsStored} bits a pixel; at most 16 are read")
    return _apply_table(pixels, header, is_inverted=kind == "MONOCHROME1")


def _luminance(colors: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(colors.astype(np.uint8)).convert("L"))


def _apply_table(pixels: np.ndarray, header: Any, *, is_inverted: bool) -> np.ndarray:
    bits = int(header.BitsStored)
    lowest = -(1 << bits - 1) if header.get("PixelRepresentation") else 0
    stored = np.arange(lowest, lowest + (1 << bits), dtype=np.int32)
    places = pixels.astype(np.int32) - lowest
    np.clip(places, 0, len(stored) - 1, out=places)
    is_padding = _padding(stored, header)
    for table in header.get("ModalityLUTSequence") or ():
        table.LUTDescriptor[2] = 8 if table.LUTDescriptor[2] <= 8 else 16  # pydicom knows no depths between
    values = np.asarray(apply_modality_lut(stored, header), dtype=np.float64)
    shown = _show(values, header)
    if shown is None:
        shown = _stretch(values, np.bincount(places.ravel(), minlength=len(stored)) * ~is_padding, bits)
    if is_inverted:
        shown = 1.0 - shown
    shown[is_padding] = 0.0
    return np.rint(shown * 255.0).astype(np.uint8)[places]


def _padding(stored: np.ndarray, header: Any) -> np.ndarray:
    """Which stored values fill the surroundings of the image."""
    first = header.get("PixelPaddingValue")
    if first is None:
        return np.zeros(len(stored), dtype=bool)
    last = header.get("PixelPaddingRangeLimit", first)
    return (stored >= min(first, last)) & (stored <= max(first, last))


def _show(values: np.ndarray, header: Any) -> np.ndarray | None:
    """What the header's VOI LUT or window (PS3.3 C.11.2) makes of ``values``, 0 to 1; None without a usable one."""
    luts = header.get("VOILUTSequence")
    if luts and luts[0].get("LUTData") is not None:
        shown = apply_voi(np.rint(values).astype(np.int32), header).astype(np.float64)
        return shown / full_scale(shown.max())  # the depth in the descriptor is often more than what is used
    centers, widths = header.get("WindowCenter"), header.get("WindowWidth")
    if centers in (None, "") or widths in (None, ""):
        return None
    center, width = float(np.ravel(centers)[0]), float(np.ravel(widths)[0])
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID" and width > 0:
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT" and width > 0:
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width > 1:
        return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)
    return None


def _stretch(values: np.ndarray, counts: np.ndarray, bits: int) -> np.ndarray:
    """``values`` from 0 to 1 between those that cut off ``_CUT`` of the counted pixels at either end."""
    low, high = float(values.min()), float(values.max())
    if bits > 8 and counts.any():
        order = np.argsort(values, kind="stable")
        share = np.cumsum(counts[order]) / counts.sum()
        low, high = (float(values[order[np.searchsorted(share, part)]]) for part in (_CUT, 1.0 - _CUT))
    return np.clip((values - low) / max(high - low, 1.0), 0.0, 1.0)
