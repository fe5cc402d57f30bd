"""TIFF: types of samples that Pillow refuses, takes for others, or cuts to 8 bits; and JPEG inside."""

import io
import zlib
from typing import Literal

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

from shards.images import jpeg
from shards.images.codestream import read_codestream
from shards.images.depth import Depth, brightest, to_levels
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
_BIG_OF_MOTOROLA = b"MM\0+"  # which Pillow does not know
_KIND, _COPY_OR_MASK = 254, 5
_FORMS = {2: " with sign", 3: " in floating point", 5: " of complex numbers", 6: " of complex numbers"}
_OTHERS = dict.fromkeys((33003, 33005, 34712), "JPEG 2000") | dict.fromkeys((22610, 34934), "JPEG XR")
_OTHERS |= dict.fromkeys((50002, 52546), "JPEG XL") | {34887: "LERC", 34933: "PNG"}
_REMEDY = "save it as TIFF of 8 or 16 bits without compression, or as PNG"


def decode_tiff(data: bytes, depth: Depth = 8) -> np.ndarray:
    """The one image of a TIFF, beside which there may be smaller copies, as gray levels (H, W), turned as its
    orientation says; uint16 where both the samples and ``depth`` are of more than 8 bits.

    Raises:
        ImageError: ``damaged``, ``unsupported``, ``multi-frame``, ``too-large``, ``too-small``.
        Exception: whatever Pillow raises for damaged files.
    """
    data, tags = _whole_page(data)
    check_size(_number(tags, _WIDTH, 0), _number(tags, _HEIGHT, 0))
    _check_parts(data, tags)
    bits = _number(tags, _BITS, 1)
    if _is_pillows(tags) and not data.startswith(_BIG_OF_MOTOROLA):
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode not in DEEP_MODES:
                return to_gray(image)
            samples = np.asarray(image)
    else:
        if _number(tags, _PLANES, 1) == 2:
            raise ImageError("unsupported", f"{_described(tags)}, with each colour in a plane of its own; {_REMEDY}")
        try:
            samples = decode_deep(data, bits=bits)
        except ImageError as error:
            raise unread(data) from error
        if bits in _PACKED:
            samples >>= 16 - bits  # OpenCV fills up to 16 bits from below
    declared = bits if bits < 16 and samples.dtype.kind == "u" else None
    levels = to_levels(samples, bits=declared, depth=depth)
    if levels.ndim == 3:
        levels = luminance(levels)
    if _number(tags, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        levels = brightest(depth) - levels
    return levels


def unread(data: bytes) -> ImageError:
    """Why no decoder here reads a TIFF: it is cut, or holds what is to be saved in another way."""
    _, tags = _whole_page(data)
    places, lengths = _parts(tags)
    if any(place + length > len(data) for place, length in zip(places, lengths, strict=False)):
        return ImageError("damaged", "TIFF that is cut: some of its pixels should lie behind its end")
    return ImageError("unsupported", f"{_described(tags)}, which is not read; {_REMEDY}")


def _described(tags: ImageFileDirectory_v2) -> str:
    bits, form, samples = (_number(tags, tag, 1) for tag in (_BITS, _FORMAT, _SAMPLES))
    number = _number(tags, _COMPRESSION, 1)
    name = "" if number in COMPRESSION_INFO else f", compressed as {_OTHERS.get(number, f'no. {number}')}"
    values = f"{samples} values a pixel" if samples > 1 else "one value a pixel"
    return f"TIFF of {values} of {bits} bits{_FORMS.get(form, '')}{name}"


def _whole_page(data: bytes) -> tuple[bytes, ImageFileDirectory_v2]:
    """The file with its one whole page first, as all decoders take the first, and that page's tags."""
    is_big = data[2:3] == b"+" or data[3:4] == b"+"
    head = data[:2] + b"+\0" + data[4:16] if is_big else data[:8]
    width = 8 if is_big else 4
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    start, pages = int.from_bytes(data[width : 2 * width], order), {}
    while start and start not in pages:
        tags = ImageFileDirectory_v2(b"II" + head[2:], prefix=data[:2])
        tags.next = 0
        file = io.BytesIO(data)
        file.seek(start)
        tags.load(file)
        pages[start], start = tags, tags.next
    sized = {start: tags for start, tags in pages.items() if _WIDTH in tags and _HEIGHT in tags}
    if not sized:
        raise ImageError("damaged", "TIFF whose directory is damaged: it tells no size")
    whole = {start: tags for start, tags in sized.items() if not _number(tags, _KIND, 0) & _COPY_OR_MASK} or sized
    if len(whole) > 1:
        raise ImageError("multi-frame", f"TIFF of {len(whole)} pages; a radiograph is one")
    start, tags = next(iter(whole.items()))
    return data[:width] + start.to_bytes(width, order) + data[2 * width :], tags


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


def _parts(tags: ImageFileDirectory_v2) -> tuple[list[int], list[int]]:
    """Where the strips or tiles begin, and how many bytes they have."""
    kind = (_TILES, _TILE_BYTES) if _TILES in tags else (_STRIPS, _STRIP_BYTES)
    places, lengths = (np.ravel(tags.get(tag, ())).tolist() for tag in kind)
    return places, lengths


def _check_parts(data: bytes, tags: ImageFileDirectory_v2) -> None:
    """Decodes each strip or tile of JPEG or deflate strictly, as libtiff carries on over damage. Raises ImageError:
    ``damaged``."""
    compression = _number(tags, _COMPRESSION, 1)
    if compression != _JPEG and compression not in _DEFLATE:
        return
    places, lengths = _parts(tags)
    tables = bytes(tags.get(_TABLES, b""))[2:-2]  # without the marks of begin and end
    for place, length in zip(places, lengths, strict=True):
        part = data[place : place + length]
        if compression == _JPEG:
            whole = part[:2] + tables + part[2:]
            found = read_codestream(whole)
            if (found.kind, found.bits) != ("dct", 8):
                raise ImageError("unsupported", f"TIFF with JPEG of {found.bits} bits inside; {_REMEDY}")
            jpeg.check_whole(whole, width=8, height=8)
            continue
        try:
            zlib.decompress(part)
        except zlib.error as error:
            raise ImageError("damaged", f"TIFF that is cut, or damaged inside ({error})") from error
