"""The pixels of a DICOM image as numbers of their stored bits, checked against the header."""

from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from shards.images.dicom.compressed import decode_compressed
from shards.images.dicom.header import whole
from shards.images.dicom.image_pixel import ImagePixel, Kind, read_image_pixel, transfer_syntax
from shards.images.dicom.native import check_length, read_native
from shards.images.dicom.stored import is_signed, stored_values
from shards.images.refusal import ImageError, check_size

_COMPRESSED = {
    *(JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless),
    *(JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K, RLELossless),
}
_ITEM = b"\xfe\xff\x00\xe0"
_FLOATS = {"FloatPixelData": 4, "DoubleFloatPixelData": 8}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """``values`` (H, W), or (H, W, 3) of colours: whole numbers of ``bits``, or floats (``bits`` is 0)."""

    values: np.ndarray
    kind: Kind
    bits: int
    photometric: str
    is_signed: bool = False


def read_frame(header: Dataset) -> Frame:
    """Decodes the one image of a file.

    Raises:
        ImageError: ``no-pixels``, ``multi-frame``, ``unsupported`` (a transfer syntax, a photometric interpretation, a
            number of bits), ``inconsistent`` (the header and the pixels disagree), ``too-large``, ``too-small``,
            ``damaged``.
    """
    keyword = next((name for name in ("PixelData", *_FLOATS) if name in header), None)
    data = header[keyword].value if keyword else b""
    if keyword is None or not isinstance(data, bytes) or not data:
        raise ImageError("no-pixels", "DICOM without an image, such as a report or a presentation state")
    num_frames = whole(header, "NumberOfFrames") or 1
    if num_frames > 1:
        raise ImageError("multi-frame", f"DICOM with {num_frames} frames; a radiograph has one")
    about, syntax = read_image_pixel(header), transfer_syntax(header)
    _check_syntax(syntax)
    is_encapsulated = data.startswith(_ITEM) and (
        syntax in _COMPRESSED or bool(getattr(header[keyword], "is_undefined_length", False))
    )
    if about.rows and about.columns:
        check_size(about.columns, about.rows)
    elif not is_encapsulated:
        raise ImageError("no-pixels", "DICOM without an image: Rows or Columns are missing")
    if keyword in _FLOATS:
        return _floats(data, about, _FLOATS[keyword])
    if is_encapsulated:
        raw = decode_compressed(data, about)
    else:
        raw = read_native(data, about, is_words=header[keyword].VR == "OW")
    about = replace(about, is_signed=is_signed(raw, about))
    values, bits = stored_values(raw, about)
    return Frame(values=values, kind=raw.kind, bits=bits, photometric=about.photometric, is_signed=about.is_signed)


def _check_syntax(syntax: str) -> None:
    """Refuses pixels coded in ways that are not read, by name; what is not said is told from the pixels."""
    uid = UID(syntax)
    if not syntax or uid in _COMPRESSED or (uid.is_transfer_syntax and not uid.is_private and not uid.is_encapsulated):
        return
    name = f" ({uid.name})" if uid.name != syntax else ""
    raise ImageError("unsupported", f"DICOM of Transfer Syntax {syntax}{name}, which is not read")


def _floats(data: bytes, about: ImagePixel, size: int) -> Frame:
    check_length(data, about, bits_per_pixel=8 * size)
    order = ">" if about.is_big_endian else "<"
    values = np.frombuffer(data, f"{order}f{size}", count=about.rows * about.columns).astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError("damaged", "DICOM of pixels that are not finite numbers")
    return Frame(values=values.reshape(about.rows, about.columns), kind="gray", bits=0, photometric=about.photometric)
