"""PNG: checksums of all chunks, 16-bit colours, and whether a file holds nothing but a gray image."""

import zlib
from collections.abc import Iterator

import numpy as np

from shards.images.opencv import decode_deep
from shards.images.refusal import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND"}
_NEEDED_CHUNKS = {*_PLAIN_CHUNKS, b"PLTE", b"tRNS", b"eXIf"}
_GRAY_8_BIT = b"\x08\x00"
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
    if is_clean:
        return data
    kept = [data[start - 8 : end + 4] for kind, start, end in _chunks(data) if kind in _NEEDED_CHUNKS]
    return SIGNATURE + b"".join(kept)


def deep_colors(data: bytes) -> np.ndarray | None:
    """The samples (H, W, 3 or 4) uint16 of a PNG that has several of 16 bits, of which Pillow keeps 8; None for
    others."""
    return decode_deep(data, bits=16) if data[24:26] in _DEEP_COLORS else None


def plain_size(data: bytes) -> tuple[int, int] | None:
    """Width and height, if these are the bytes of an 8-bit gray PNG, and no others: no text, times, EXIF or bytes
    behind the end."""
    if not data.startswith(SIGNATURE) or data[24:26] != _GRAY_8_BIT:
        return None
    chunks = list(_chunks(data))
    is_bare = all(kind in _PLAIN_CHUNKS for kind, _, _ in chunks) and chunks[-1][2] + 4 == len(data)
    return (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) if is_bare else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, and where what it holds begins and ends; none behind ``IEND``."""
    position, kind = len(SIGNATURE), b""
    while position + 8 <= len(data) and kind != b"IEND":
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        yield kind, position + 8, position + 8 + length
        position += 12 + length
