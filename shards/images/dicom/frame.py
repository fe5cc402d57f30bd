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

from shards.images.depth import CUT
from shards.images.dicom.compressed import decode_compressed
from shards.images.dicom.header import whole
from shards.images.dicom.image_pixel import ImagePixel, Kind, Raw, read_image_pixel, transfer_syntax
from shards.images.dicom.native import check_length, read_native
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
    about = replace(about, is_signed=_is_signed(raw, about))
    values, bits = stored_values(raw, about)
    return Frame(values=values, kind=raw.kind, bits=bits, photometric=about.photometric, is_signed=about.is_signed)


def _is_signed(raw: Raw, about: ImagePixel) -> bool:
    """Whether stored values are signed. Where the header and the compressed image disagree, either may be wrong, and a
    film in the wrong reading is torn wherever it crosses the middle: the smoother one is taken, else the
    header's."""
    if raw.is_signed in (None, about.is_signed) or raw.values.ndim != 2:
        return about.is_signed
    sign = 1 << min(about.stored or raw.container, raw.container) - 1
    unsigned = raw.values.astype(np.int64) & (2 * sign - 1)
    plain, signed = (int(np.abs(np.diff(values)).sum()) for values in (unsigned, unsigned ^ sign))
    return about.is_signed if max(plain, signed) < 1.1 * min(plain, signed) else signed < plain


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


def stored_values(raw: Raw, about: ImagePixel) -> tuple[np.ndarray, int]:
    """The numbers in the stored bits of a raw image, and how many bits those are (PS3.5, 8.1.1).

    Devices err in all of it. So the bits are shifted only if they then are all of the image, and where many pixels need
    more than the stored bits, and no overlay lies there, more are stored than the header says. Compressed pixels were
    made by somebody who knew how many, so it is damage there.

    Raises:
        ImageError: ``inconsistent``.
    """
    container, bits = raw.container, min(about.stored or raw.container, raw.container)
    values: np.ndarray = raw.values.astype(np.int64 if container > 16 else np.int32)
    values &= (1 << container) - 1
    unused = about.high_bit + 1 - bits
    if 0 < unused <= container - bits and (
        values.max() >> bits or not np.bitwise_or.reduce(values, axis=None) & ((1 << unused) - 1)
    ):
        values >>= unused
        values &= (1 << bits) - 1
    elif about.has_overlay and bits < container:
        values &= (1 << bits) - 1
    if bits == container:
        return values - ((values >> bits - 1) << bits) if about.is_signed else values, bits
    above = values >> bits  # nothing, or the sign carried on, where the stored bits are all there is
    if about.is_signed:
        is_beyond = (above != 0) & (above != (1 << container - bits) - 1)
        from_stored = (values & (1 << bits) - 1) - ((values >> bits - 1 & 1) << bits)
        values = np.where(is_beyond, values - ((values >> container - 1) << container), from_stored)
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    else:
        is_beyond, low, high = above != 0, 0, (1 << bits) - 1
    if np.count_nonzero(is_beyond) > CUT * values.size:
        if raw.is_compressed and (about.padding is None or (values[is_beyond] != about.padding).any()):
            message = f"DICOM of Bits Stored {bits}, whose compressed image needs more: one of them is damaged"
            raise ImageError("inconsistent", message)
        return values, container
    return np.clip(values, low, high), bits
