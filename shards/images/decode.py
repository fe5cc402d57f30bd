"""Any picture to gray of 8 or 16 bits: bytes in, pixels out or the reason why not.

Reads what Pillow reads, whatever the file is called, JPEG of other kinds than Pillow's, deep TIFF and PNG, DICOM,
NumPy's arrays, and JSRT's raw films.
"""

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from shards.images import jpeg, npy, png, raw, tiff
from shards.images.codestream import JP2, JPEG, JPEG_2000, read_codestream
from shards.images.depth import Depth, to_levels
from shards.images.dicom.signature import is_dicom
from shards.images.gray import as_picture, luminance, to_gray
from shards.images.refusal import ImageError, check_size

# Of bombs, which are refused here, and of odd but readable metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112
_SERIES = ("GIF", "PNG", "WEBP")  # whose pictures are of one rank; those of MPO are one and its copies
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_NO_PICTURES = {  # what lies in a picture's place after a failed download, or in another list's folder
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML text",
    b"version https://git-lfs": "a pointer of Git LFS, whose file was not downloaded",
    b"%pdf": "a PDF",
    b"pk\x03\x04": "a zip",
    b"\x1f\x8b": "a gzip, such as a NIfTI volume",
    b"%!ps": "a PostScript text",
}
_NOT_READ = {  # where the name stands, the name, and what is meant
    (0, b"\xff\x0a"): "JPEG XL",
    (4, b"JXL "): "JPEG XL",
    (0, b"II\xbc\x01"): "JPEG XR",
    (4, b"ftyphei"): "HEIC, as telephones write it",
    (4, b"ftyphev"): "HEIC, as telephones write it",
    (4, b"ftypmif1"): "HEIC, as telephones write it",
}
# How Pillow's decoders, and pydicom's, fail on damaged files.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(AttributeError, struct.error, NotImplementedError, RuntimeError),
)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A gray picture, as :func:`shards.images.gray.as_picture` makes them, of which ``extent`` (width,
    height) is the image, as it may be decoded at a reduced size; ``size`` is the source's. It is still to be turned by
    ``turn``."""

    gray: Image.Image
    extent: tuple[float, float]
    size: tuple[int, int]
    turn: Image.Transpose | None = None


def decode_image(data: bytes, *, shorter: int, depth: Depth = 8) -> Decoded:
    """Decodes a picture of which ``shorter`` pixels of the shorter side are wanted, to levels of ``depth`` bits.

    Raises:
        MemoryError: there is not enough memory for the picture, or for what it says to be.
        ImageError: with reason ``empty``, ``not-an-image``, ``damaged`` (truncated or corrupt), ``unsupported``,
            ``multi-frame``, ``too-large`` (a decompression bomb), ``too-small``, and for DICOM those of
            :func:`shards.images.dicom.decode.decode_dicom`.
    """
    if not data:
        raise ImageError("empty", "the file has no bytes")
    if is_dicom(data):
        from shards.images.dicom.decode import decode_dicom  # takes as long to import as all else

        return _whole(decode_dicom(data, depth), depth)
    try:
        if data.startswith(tiff.SIGNATURES):
            return _whole(tiff.decode_tiff(data, depth), depth)
        if data.startswith(npy.SIGNATURE):
            return _whole(to_levels(npy.decode_npy(data), depth=depth), depth)
        if data.startswith(png.SIGNATURE):
            data = png.check_whole(data)
        if data.startswith((JP2, JPEG_2000)) and read_codestream(data).bits > 8:
            return _decode_stream(data, depth)
        try:
            with Image.open(io.BytesIO(data)) as image:
                return _decode_opened(image, data, shorter, depth)
        except ImageError:
            raise
        except _DAMAGE:
            bare = png.without_additions(data) if data.startswith(png.SIGNATURE) else data
            if bare == data:
                raise
        with Image.open(io.BytesIO(bare)) as image:  # what is unreadable was a text or the like
            return _decode_opened(image, bare, shorter, depth)
    except UnidentifiedImageError:
        if raw.is_raw(data):
            return _whole(to_levels(raw.decode_raw(data), bits=12, depth=depth), depth)
        if data.startswith(JPEG):
            return _decode_stream(data, depth)
        if data.startswith(tiff.SIGNATURES):
            raise tiff.unread(data) from None
        other = next((name for (place, start), name in _NOT_READ.items() if data.startswith(start, place)), None)
        if other:
            raise ImageError("unsupported", f"{other}, which is not read; save it as PNG") from None
        found = next((name for start, name in _NO_PICTURES.items() if data.lstrip().lower().startswith(start)), None)
        raise ImageError("not-an-image", f"{found}, not a picture" if found else "no known image format") from None
    except Image.DecompressionBombError as error:
        raise ImageError("too-large", str(error)) from error
    except ImageError:
        raise
    except _DAMAGE as error:
        raise ImageError("damaged", f"cut, or damaged inside ({str(error) or type(error).__name__})") from error


def _decode_opened(image: Image.Image, data: bytes, shorter: int, depth: Depth) -> Decoded:
    if image.format == "EPS":  # another program would have to run it
        raise UnidentifiedImageError
    num_pictures = getattr(image, "n_frames", 1) if image.format in _SERIES else 1
    if num_pictures > 1:
        raise ImageError("multi-frame", f"{image.format} of {num_pictures} pictures; a radiograph is one")
    width, height = image.size
    check_size(width, height)
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    if image.format in ("JPEG", "MPO"):
        pixels, divisor = jpeg.decode_gray(
            data, width=width, height=height, scale=min(1.0, shorter / min(width, height)), mode=image.mode
        )
        extent = width / divisor, height / divisor
        return Decoded(gray=as_picture(pixels, depth), extent=extent, size=(width, height), turn=turn)
    image.load()
    if image.format == "PNG":
        png.check_filled(image, data)
    samples = png.deep_colors(data) if image.format == "PNG" else None
    levels = to_gray(image, depth) if samples is None else luminance(to_levels(samples, depth=depth))
    return _whole(levels, depth, turn=turn)


def _decode_stream(data: bytes, depth: Depth) -> Decoded:
    from shards.images.codecs import decode_stream  # imports decoders that few files need

    found = decode_stream(data)
    levels = to_levels(found.values, bits=found.bits, depth=depth)
    if levels.ndim == 3:
        levels = levels[:, :, 0] if found.colors == "YBR" else luminance(levels)
    return _whole(levels, depth)


def _whole(levels: np.ndarray, depth: Depth, *, turn: Image.Transpose | None = None) -> Decoded:
    gray = as_picture(levels, depth)
    return Decoded(gray=gray, extent=gray.size, size=gray.size, turn=turn)
