"""PNG: checksums of all chunks, and whether a file holds nothing but a gray image."""

import zlib
from collections.abc import Iterator

from shards.images.gray import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND"}
_GRAY_8_BIT = b"\x08\x00"


def check_whole(data: bytes) -> None:
    """Checks each chunk's checksum, which decoders skip for pixels.

    Raises:
        ImageError: ``damaged``: a checksum is wrong, or the end is missing.
    """
    kind = b""
    for kind, start, end in _chunks(data):
        if end + 4 > len(data):
            break
        if zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise ImageError("damaged", f"PNG chunk {kind.decode('latin-1')!r} at byte {start - 8}: wrong checksum")
    if kind != b"IEND":
        raise ImageError("damaged", "truncated PNG: its last chunk is missing")


def is_plain(data: bytes) -> bool:
    """Whether these are the bytes of an 8-bit gray PNG, and no others: no text, times, EXIF or bytes behind the end."""
    chunks = list(_chunks(data))
    is_bare = all(kind in _PLAIN_CHUNKS for kind, _, _ in chunks)
    return is_bare and data[24:26] == _GRAY_8_BIT and chunks[-1][2] + 4 == len(data)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, and where what it holds begins and ends; none behind ``IEND``."""
    position, kind = len(SIGNATURE), b""
    while position + 8 <= len(data) and kind != b"IEND":
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        yield kind, position + 8, position + 8 + length
        position += 12 + length
