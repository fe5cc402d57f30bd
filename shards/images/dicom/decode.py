"""DICOM files to gray levels of 8 or 16 bits, as they are meant to be looked at.

Stored values of up to 16 bits go through the modality transform (rescale or LUT), then through the VOI LUT or the
window; where there is neither, the darkest and brightest half per cent are cut off (8-bit images are taken as they
are). MONOCHROME1 is inverted; padding is black, and counts nowhere. As there are at most 65,536 stored values, all this
is one table. Colours become their luminance.
"""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from shards.images.depth import Depth, brightest, full_scale, rounded, to_levels
from shards.images.dicom.frame import Frame, read_frame
from shards.images.dicom.header import check_modality, number, read_header
from shards.images.dicom.luts import read_lut
from shards.images.dicom.windows import Levels, show
from shards.images.gray import luminance
from shards.images.refusal import ImageError

_PADDING = ("PixelPadding", "FloatPixelPadding", "DoubleFloatPixelPadding")
_COLORS = ("Red", "Green", "Blue")
_PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"


def decode_dicom(data: bytes, depth: Depth = 8) -> np.ndarray:
    """Gray levels (H, W) of a DICOM radiograph, uint8 or, of 16 bits, uint16; black is air.

    Raises:
        ImageError: ``other-modality``, ``no-pixels``, ``multi-frame``, ``unsupported`` (a transfer syntax, a
            photometric interpretation that is not of pictures), ``inconsistent`` (the header and the pixels disagree),
            ``too-large``, ``too-small``, ``damaged``.
        MemoryError: there is not enough memory.
    """
    try:
        header = read_header(data)
        if "PixelData" not in header and _PIXEL_DATA_TAG in data and ("Rows" in header or not header):
            raise ImageError("damaged", "DICOM that is cut in its pixel data")
        if not header:
            raise ImageError("damaged", "DICOM that is cut in its header")
        check_modality(header)
        return show_header(header, depth)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # a damaged header or stream shows as any exception of pydicom or of its decoders
        # its text may quote the header
        raise ImageError("damaged", f"DICOM that cannot be read ({type(error).__name__})") from error


def show_header(header: Dataset, depth: Depth = 8) -> np.ndarray:
    """As :func:`decode_dicom`, of any modality."""
    frame = read_frame(header)
    if frame.kind == "gray":
        return _show_gray(frame, header, depth)
    if frame.kind == "index":
        return _show_palette(frame, header, depth)
    values = frame.values if frame.is_signed else frame.values.astype(np.uint16 if frame.bits <= 16 else np.uint32)
    if frame.kind == "RGB":
        return luminance(to_levels(values, bits=frame.bits, depth=depth))
    gray = to_levels(values if frame.kind == "luminance" else values[:, :, 0], bits=frame.bits, depth=depth)
    if frame.photometric.startswith("YBR_PARTIAL"):  # black is 16 and white 235, of 255
        return rounded((gray.astype(np.float32) - brightest(depth) // 255 * 16) * (255 / 219), depth)
    return gray


def _show_gray(frame: Frame, header: Dataset, depth: Depth) -> np.ndarray:
    if 0 < frame.bits <= 16:
        lowest = -(1 << frame.bits - 1) if frame.is_signed else 0
        stored = np.arange(lowest, lowest + (1 << frame.bits))
        places = frame.values - lowest
        counts = np.bincount(places.ravel(), minlength=len(stored))
    else:  # floats and integers of 32 bits: too many values for a table of all
        stored, places, counts = np.unique(frame.values, return_inverse=True, return_counts=True)
    is_padding = _padding(stored, header)
    if not counts[~is_padding].any():
        is_padding = np.zeros_like(is_padding)
    levels = Levels(values=stored.astype(np.float64), counts=counts * ~is_padding, is_ready=0 < frame.bits <= 8)
    shown = show(levels, header)
    if frame.photometric == "MONOCHROME1":
        shown = 1.0 - shown
    shown[is_padding] = 0.0
    return rounded(shown * brightest(depth), depth)[places].reshape(frame.values.shape)


def _padding(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Which stored values fill the surroundings of the image. Their numbers may be written as signed where the pixels
    are not, or the other way round: of the readings that lie among the values, the narrowest is taken."""
    first = next((value for name in _PADDING if (value := number(header, f"{name}Value")) is not None), None)
    last = next((value for name in _PADDING if (value := number(header, f"{name}RangeLimit")) is not None), None)
    if first is None:
        return np.zeros(len(stored), dtype=bool)
    ends = np.array([first, first if last is None else last])
    readings = (sorted(said.tolist()) for said in (ends, ends % 65536, (ends + 32768) % 65536 - 32768))
    among = [(low, high) for low, high in readings if high >= stored[0] and low <= stored[-1]]
    low, high = min(among, key=lambda ends: ends[1] - ends[0], default=(np.inf, np.inf))
    return (stored >= low) & (stored <= high)


def _show_palette(frame: Frame, header: Dataset, depth: Depth) -> np.ndarray:
    """Colours by index (PS3.3 C.7.6.3.1.5)."""
    if "SegmentedRedPaletteColorLookupTableData" in header:
        colors = apply_color_lut(frame.values, header)[:, :, :3]
    else:
        low, high = float(frame.values.min()), float(frame.values.max())
        tables = [read_lut(header, low=low, high=high, prefix=f"{name}PaletteColorLookupTable") for name in _COLORS]
        missing = [name for name, table in zip(_COLORS, tables, strict=True) if table is None]
        if missing:
            raise ImageError("unsupported", f"DICOM of indexed colours whose {missing[0]} table is missing or damaged")
        colors = np.stack([table.apply(frame.values) for table in tables if table is not None], axis=2)
    white = full_scale(float(colors.max()))
    return luminance(rounded(colors * (brightest(depth) / white), depth))
