"""PNG: checksums of all chunks, 16-bit colours, and whether a file holds nothing but a gray image."""

import io
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from shards.images.depth import Depth
from shards.images.opencv import decode_deep
from shards.images.refusal import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND"}
_NEEDED_CHUNKS = {*_PLAIN_CHUNKS, b"PLTE", b"tRNS", b"eXIf"}
_GRAY = {8: b"\x08\x00", 16: b"\x10\x00"}
_NUM_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_INTERLACED = (  # left, top, step across and down of the seven passes
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_DEEP_COLORS = {b"\x10\x02", b"\x10\x04", b"\x10\x06"}  # 16 bits: colours, gray or colours with transparency


def check_whole(data: bytes) -> bytes:
    """Checks each chunk's checksum, which decoders skip for pixels, and returns the file: without its texts, times and
    other additions if one of those is damaged, as decoders may refuse the whole then.

    Raises:
        ImageError: ``damaged``: a checksum is wrong, or the end is missing.
    """
    kind, is_clean = b"", True
    for kind, start, end in _chunks(data):
        if end + 4 > len(data):
            break
        if zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4]):
            if kind in _NEEDED_CHUNKS or not kind[:1].islower():  # a capital: pictures cannot be shown without it
                name = kind.decode("latin-1")
                raise ImageError("damaged", f"PNG chunk {name!r} at byte {start - 8}: wrong checksum")
            is_clean = False
    if kind != b"IEND":
        raise ImageError("damaged", "truncated PNG: its last chunk is missing")
    return data if is_clean else without_additions(data)


def without_additions(data: bytes) -> bytes:
    """A PNG without its texts, times, colour profiles and whatever else a picture does not need."""
    kept = [data[start - 8 : end + 4] for kind, start, end in _chunks(data) if kind in _NEEDED_CHUNKS]
    return SIGNATURE + b"".join(kept)


def check_filled(image: Image.Image, data: bytes) -> None:
    """Refuses a PNG, loaded from ``data``, whose pixels end early or have colours that its palette lacks: Pillow leaves
    both black.

    Raises:
        ImageError: ``damaged``.
    """
    if image.mode == "P":
        highest, colors = np.asarray(image).max(), image.palette
        num_colors = len(colors.palette) // len(colors.mode) if colors else 0
        if highest >= num_colors:
            raise ImageError("damaged", f"PNG of colour {highest}, but with a palette of {num_colors}")
    last = np.asarray(image.crop((0, image.height - 2, *image.size)))  # two, as interlacing leaves every other one
    if not last.reshape(2, -1).any(axis=1).all() and not _has_all_rows(data):
        raise ImageError("damaged", "PNG whose pixels end before its last row")


def _has_all_rows(data: bytes) -> bool:
    """Whether the pixels are as many bytes as the header says, or more."""
    needed, inflated, inflate = _num_bytes(data), 0, zlib.decompressobj()
    for kind, start, end in _chunks(data):
        inflated += len(inflate.decompress(data[start:end])) if kind == b"IDAT" else 0
    return inflated >= needed


def _num_bytes(data: bytes) -> int:
    """The bytes of the pixels, by the header."""
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    bits, needed = data[24] * _NUM_SAMPLES[data[25]], 0
    for left, top, across, down in _INTERLACED if data[28] else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        needed += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return needed


def deep_colors(data: bytes) -> np.ndarray | None:
    """The samples (H, W, 3 or 4) uint16 of a PNG that has several of 16 bits, of which Pillow keeps 8; None for
    others."""
    return decode_deep(data, bits=16) if data[24:26] in _DEEP_COLORS else None


def samples(data: bytes) -> np.ndarray:
    """The samples (H, W) of a gray PNG of 8 or 16 bits that can be decoded, as they are stored."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def plain_size(data: bytes, depth: Depth = 8) -> tuple[int, int] | None:
    """Width and height, if these are the bytes of a gray PNG of this depth, and no others: no text, times, EXIF or
    bytes behind the end."""
    if not data.startswith(SIGNATURE) or data[24:26] != _GRAY[depth]:
        return None
    chunks = list(_chunks(data))
    is_bare = all(kind in _PLAIN_CHUNKS for kind, _, _ in chunks) and chunks[-1][2] + 4 == len(data)
    return (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) if is_bare else None


def ends_alone(data: bytes) -> bool:
    """Whether the chunks of a plain PNG hold its pixels and nothing else: neither bytes behind what is compressed nor
    rows below the last one, which decoders pass over."""
    sizes = {kind: end - start for kind, start, end in _chunks(data)}
    inflate, left = zlib.decompressobj(), _num_bytes(data)
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            if inflate.eof and end > start:
                return False
            try:
                left -= len(inflate.decompress(data[start:end], left + 1))
            except zlib.error:
                return False
            if left < 0 or inflate.unconsumed_tail or inflate.unused_data:
                return False
    return left == 0 and inflate.eof and sizes[b"IHDR"] == 13 and sizes.get(b"IEND") == 0


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, and where what it holds begins and ends; none behind ``IEND``."""
    position, kind = len(SIGNATURE), b""
    while position + 8 <= len(data) and kind != b"IEND":
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        yield kind, position + 8, position + 8 + length
        position += 12 + length
