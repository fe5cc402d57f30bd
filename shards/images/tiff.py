"""TIFF: types of samples that Pillow refuses, takes for others, or cuts to 8 bits; and JPEG inside."""

import io
import zlib

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from shards.images import jpeg
from shards.images.depth import to_levels
from shards.images.gray import DEEP_MODES, luminance, to_gray
from shards.images.opencv import decode_deep
from shards.images.refusal import ImageError, check_size

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_STRIPS, _STRIP_BYTES, _PLANES, _TILES, _TILE_BYTES, _FORMAT, _TABLES = 273, 279, 284, 324, 325, 339, 347
_UNSIGNED, _SIGNED = 1, 2
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_JPEG, _DEFLATE = 7, (8, 32946)
_PACKED = (10, 12, 14)  # bits of a sample that lie without gaps


def decode_tiff(data: bytes) -> Image.Image:
    """The first image of a TIFF as gray (mode ``L``), turned as its orientation says.

    Raises:
        ImageError: ``damaged``, ``unsupported``, ``too-large``, ``too-small``.
        Exception: whatever Pillow raises for damaged files.
    """
    tags = _read_tags(data)
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise ImageError("damaged", "TIFF whose directory is damaged: it tells no size")
    check_size(_number(tags, _WIDTH, 0), _number(tags, _HEIGHT, 0))
    _check_parts(data, tags)
    bits = _number(tags, _BITS, 1)
    if _is_pillows(tags):
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode not in DEEP_MODES:
                return to_gray(image)
            samples = np.asarray(image)
    else:
        if _number(tags, _PLANES, 1) == 2:
            raise ImageError("unsupported", "TIFF of deep colours in separate planes, which no decoder here reads well")
        samples = decode_deep(data, bits=bits)
        if bits in _PACKED:
            samples >>= 16 - bits  # OpenCV fills up to 16 bits from below
    levels = to_levels(samples, bits=bits if bits < 16 and samples.dtype.kind == "u" else None)
    if levels.ndim == 3:
        levels = luminance(levels)
    if _number(tags, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        levels = 255 - levels
    return Image.fromarray(levels)


def _read_tags(data: bytes) -> ImageFileDirectory_v2:
    tags = ImageFileDirectory_v2(data[: 16 if b"+" in data[:4] else 8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _number(tags: ImageFileDirectory_v2, tag: int, default: int) -> int:
    value = tags.get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _is_pillows(tags: ImageFileDirectory_v2) -> bool:
    """Whether Pillow reads these samples as what they are."""
    bits, form = _number(tags, _BITS, 1), _number(tags, _FORMAT, _UNSIGNED)
    photometric = _number(tags, _PHOTOMETRIC, 1)
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        return True  # or nobody's
    if bits <= 8:
        return form != _SIGNED
    if _number(tags, _SAMPLES, 1) > 1 or bits in _PACKED or bits > 32 or (bits == 32 and form == _UNSIGNED):
        return False
    return photometric != _WHITE_IS_ZERO  # which it knows in some byte orders only


def _check_parts(data: bytes, tags: ImageFileDirectory_v2) -> None:
    """Decodes each strip or tile of JPEG or deflate strictly, as libtiff carries on over damage. Raises ImageError:
    ``damaged``."""
    compression = _number(tags, _COMPRESSION, 1)
    if compression != _JPEG and compression not in _DEFLATE:
        return
    kind = (_TILES, _TILE_BYTES) if _TILES in tags else (_STRIPS, _STRIP_BYTES)
    places, lengths = (np.ravel(tags.get(tag, ())).tolist() for tag in kind)
    tables = bytes(tags.get(_TABLES, b""))[2:-2]  # without the marks of begin and end
    for place, length in zip(places, lengths, strict=True):
        part = data[place : place + length]
        if compression == _JPEG:
            jpeg.check_whole(part[:2] + tables + part[2:], width=8, height=8)
            continue
        try:
            zlib.decompress(part)
        except zlib.error as error:
            raise ImageError("damaged", f"TIFF: {error}") from error
