"""JPEG of 8 bits, decoded to gray in one strict way wherever it comes from, and whether a file holds nothing but a gray
baseline image.

libjpeg-turbo reduces while it decodes. From 2828 x 2320 to 320 pixels, the result then differs by 0.3 gray levels on
average from full decoding, half of what storing it as JPEG of quality 95 changes. Coded pixels have no checksum: that
one is damaged shows if the decoder stumbles, or has bytes left over. Decoders carry on there, with a warning.
"""

import re
import struct

import numpy as np
import simplejpeg
from PIL import Image

from shards.images.codestream import JPEG, read_codestream, segments, with_colors, without_junk
from shards.images.refusal import ImageError

_SOS, _SOF0, _APP0 = 0xDA, 0xC0, 0xE0
_PLAIN_SEGMENTS = {0xDB, 0xC4, 0xDD}  # quantisation, Huffman tables, restart interval
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # all but what stands among coded pixels: stuffing and restarts
_STRAY = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
END, _NO_END = b"\xff\xd9", "Premature end of JPEG file"
_ZEROS = bytes(2)  # more than what fills up to a whole word
_ARITHMETIC = range(0xC9, 0xD0)
_SPARE = 1.5  # pixels decoded for each one wanted, along a side, so that the antialiasing filter has its room


def decode_gray(data: bytes, *, width: int, height: int, scale: float, mode: str = "L") -> tuple[np.ndarray, int]:
    """Gray pixels (H, W) uint8 of a JPEG of ``width`` x ``height``, of which ``scale`` is wanted, and the divisor (1,
    2, 4 or 8) at which they were decoded: the largest that leaves ``_SPARE`` times what is wanted. ``mode`` is ``CMYK``
    for four inks.

    The image ends ``width / divisor`` pixels from the left, which may be within its last column; rows alike.

    Raises:
        ImageError: ``damaged``, for anything that libjpeg complains of but padding before the end and junk in the
            header.
    """
    divisor = next((divisor for divisor in (8, 4, 2) if scale * _SPARE * divisor <= 1.0), 1)
    size = {"min_width": -(-width // divisor), "min_height": -(-height // divisor)} if divisor > 1 else {}
    if mode != "CMYK":
        return _decode(data, "GRAY", size)[:, :, 0], divisor
    inks = 255 - _decode(data, "CMYK", size)  # Adobe's way, which all programs follow: 0 is full ink
    return np.asarray(Image.frombytes("CMYK", inks.shape[1::-1], inks.tobytes()).convert("L")), divisor


def check_whole(data: bytes, *, width: int, height: int, shorter: int = 1) -> np.ndarray:
    """Decodes as little as shows that all of a gray or YCbCr JPEG can be decoded, and returns it: at an eighth of the
    size, or as much more as leaves the shorter side ``shorter`` pixels. Raises ImageError as :func:`decode_gray` does.
    """
    return decode_gray(data, width=width, height=height, scale=shorter / (_SPARE * min(width, height)))[0]


def decode_samples(data: bytes) -> np.ndarray:
    """The samples (H, W) or (H, W, 3) uint8 of a lossless JPEG as they are coded. Raises ImageError as above."""
    if read_codestream(data).samples == 1:
        return _decode(data, "GRAY", {})[:, :, 0]
    return _decode(with_colors(data, "RGB"), "RGB", {})


def _decode(data: bytes, colorspace: str, size: dict[str, int]) -> np.ndarray:
    try:
        return simplejpeg.decode_jpeg(data, colorspace=colorspace, strict=True, **size)
    except ValueError:
        data = without_junk(data)
    try:
        return simplejpeg.decode_jpeg(data, colorspace=colorspace, strict=True, **size)
    except ValueError as error:
        if _NO_END in str(error) and not data.endswith(END):  # all pixels may be there; if not, that is found then
            if data.endswith(_ZEROS) or _is_arithmetic(data):  # but not here
                raise ImageError("damaged", "JPEG that is cut: its end is missing") from error
            return _decode(data + END, colorspace, size)
        if not _is_padding(data, str(error)):
            raise _damaged(error) from error
    try:
        return simplejpeg.decode_jpeg(data, colorspace=colorspace, strict=False, **size)
    except ValueError as error:
        raise _damaged(error) from error


def _damaged(error: ValueError) -> ImageError:
    return ImageError("damaged", f"JPEG that is damaged inside: {str(error).removeprefix('Corrupt JPEG data: ')}")


def _is_arithmetic(data: bytes) -> bool:
    """Whether the coder is one that turns any bits, and none, into some picture."""
    return any(marker in _ARITHMETIC for marker, _, _ in segments(data))


def _is_padding(data: bytes, complaint: str) -> bool:
    """Whether libjpeg complains only of bytes 0 or 255 that some devices put before the end marker. Other left-over
    bytes are coded pixels: the decoder has lost its way somewhere before. Zeros without an end marker are a file that
    was not copied to its end."""
    stray = _STRAY.search(complaint)
    scan = max(end for _, _, end in segments(data))
    end = data.find(b"\xff\xd9", scan)  # cannot occur among coded pixels; what follows is of other images
    if end < 0 and data.endswith(_ZEROS):
        return False
    return stray is not None and not set(data[end - int(stray[1]) : end]) - {0, 255}


def plain_size(data: bytes) -> tuple[int, int] | None:
    """Width and height, if these are the bytes of a gray baseline JPEG whose header holds nothing else: no comment,
    EXIF, XMP, IPTC or thumbnail, which may name the patient. What follows the header is not looked at."""
    if not data.startswith(JPEG):
        return None
    size, position = None, 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4])
        if marker == _SOS:
            return size
        if marker == _SOF0 and position + 10 <= len(data):
            bits, height, width, samples = struct.unpack_from(">BHHB", data, position + 4)
            size = (width, height) if (bits, samples) == (8, 1) else None
        elif marker == _APP0 and length == 16 and data[position + 4 : position + 9] == b"JFIF\0":
            pass
        elif marker not in _PLAIN_SEGMENTS:
            return None
        position += 2 + length
    return None


def ends_alone(data: bytes) -> bool:
    """Whether a plain JPEG's coded pixels are followed by its end, and by nothing else: no comment before it, which
    decoders pass over, and no bytes behind it."""
    found = _MARKER.search(data, max(end for _, _, end in segments(data)))
    return found is not None and found[0] == END and found.end() == len(data)
