"""What a compressed stream says of itself: JPEG of all kinds (ITU T.81), JPEG-LS (T.87) and JPEG 2000 (T.800)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from shards.images.refusal import ImageError, check_size

JPEG = b"\xff\xd8\xff"
JPEG_2000 = b"\xff\x4f\xff\x51"
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"

_SOS, _APP0, _APP14 = 0xDA, 0xE0, 0xEE
_LENGTHLESS = {0x01, 0xD8, *range(0xD0, 0xD8)}  # temporary, start of image, restarts
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_NEEDED = {0xC4, 0xCC, 0xDB, 0xDD, _SOS} | _FRAMES  # and the application's markers that name the colours
_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"  # of a version that decoders know
_SEQUENTIAL = {0xC0, 0xC1, 0xC9}
_LOSSLESS, _JPEG_LS = {0xC3, 0xCB}, 0xF7
_CONTAINERS = {b"jp2h", b"asoc", b"res ", b"uinf"}


@dataclass(frozen=True, kw_only=True)
class Codestream:
    """Size, samples a pixel and bits a sample; ``precision_at`` is where a JPEG holds its bits, ``colors`` what its
    markers say of three samples (None: nothing)."""

    kind: Literal["dct", "lossless", "jpeg-ls", "jpeg-2000"]
    width: int
    height: int
    samples: int
    bits: int
    is_signed: bool = False
    is_mixed: bool = False
    precision_at: int = 0
    colors: Literal["RGB", "YBR"] | None = None


def read_codestream(data: bytes) -> Codestream:
    """The header of a stream, whose size is checked.

    Raises:
        ImageError: ``damaged``, ``unsupported``, ``too-large``, ``too-small``.
    """
    if data.startswith(JPEG):
        found = _read_jpeg(data)
    elif data.startswith((JPEG_2000, JP2)):
        found = _read_jpeg_2000(data)
    else:
        raise ImageError("damaged", f"compressed pixels begin with {data[:4].hex()}, as neither JPEG nor JPEG 2000 do")
    check_size(found.width, found.height)
    return found


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of each segment of a JPEG's header, up to the first scan's; what lies between is skipped.
    All of a segment is there.

    Raises:
        ImageError: ``damaged``: there is no scan, or a segment would end behind the data.
    """
    position = 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 4 > len(data):
            raise ImageError("damaged", "JPEG without a scan: its header is cut or damaged")
        marker = data[position + 1]
        if marker in (0x00, 0xFF) or marker in _LENGTHLESS:
            position += 1 if marker == 0xFF else 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if end > len(data):
            raise ImageError("damaged", "JPEG that is cut in its header, or whose header is damaged")
        yield marker, position, end
        if marker == _SOS:
            return
        position = end


def without_junk(data: bytes) -> bytes:
    """A JPEG whose header holds what decoding needs, and nothing between: some devices and editors leave stray bytes or
    broken comments there, which decoders skip."""
    return _rebuilt(data, b"", keeps_colors=True)


def with_colors(data: bytes, colors: Literal["RGB", "YBR"]) -> bytes:
    """A JPEG of three samples that says whether they are red, green, blue, or luminance and two of chroma."""
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([int(colors == "YBR")])
    return _rebuilt(data, adobe, keeps_colors=False)


def _rebuilt(data: bytes, start: bytes, *, keeps_colors: bool) -> bytes:
    kept, end, is_sequential = [data[:2], start], 2, False
    for marker, begin, end in segments(data):
        is_sequential = is_sequential or marker in _SEQUENTIAL
        if marker == _SOS and is_sequential:  # has coefficients 0 to 63, though some devices write otherwise
            kept.append(data[begin : end - 3] + b"\0\x3f\0")
        elif marker in _NEEDED:
            kept.append(data[begin:end])
        elif keeps_colors and _names_colors(data, marker, begin, end):
            kept.append(_JFIF if marker == _APP0 else data[begin:end])
    return b"".join([*kept, data[end:]])


def _names_colors(data: bytes, marker: int, begin: int, end: int) -> bool:
    least = {_APP0: (b"JFIF\0", 16), _APP14: (b"Adobe", 14)}.get(marker)
    return least is not None and data[begin + 4 : begin + 9] == least[0] and end - begin >= least[1]


def _read_jpeg(data: bytes) -> Codestream:
    colors: Literal["RGB", "YBR"] | None = None
    found: Codestream | None = None
    for marker, begin, end in segments(data):
        if _names_colors(data, marker, begin, end):
            colors = "RGB" if marker == _APP14 and data[begin + 15 : begin + 16] == b"\0" else "YBR"
        elif marker in _FRAMES and found is None:
            if end - begin < 10:
                raise ImageError("damaged", "JPEG with a frame header that is cut")
            samples = data[begin + 9]
            ids = [data[at] for at in range(begin + 10, min(end, begin + 10 + 3 * samples), 3)]
            found = Codestream(
                kind="jpeg-ls" if marker == _JPEG_LS else "lossless" if marker in _LOSSLESS else "dct",
                width=int.from_bytes(data[begin + 7 : begin + 9]),
                height=int.from_bytes(data[begin + 5 : begin + 7]),
                samples=samples,
                bits=data[begin + 4],
                precision_at=begin + 4,
                colors="RGB" if bytes(ids).upper() == b"RGB" else None,
            )
    if found is None:
        raise ImageError("damaged", "JPEG without a frame header")
    if found.height == 0:
        raise ImageError("unsupported", "JPEG that tells its height behind the pixels only")
    return found if colors is None or found.colors else _with(found, colors)


def _with(found: Codestream, colors: Literal["RGB", "YBR"]) -> Codestream:
    return Codestream(**{**vars(found), "colors": colors})


def _read_jpeg_2000(data: bytes) -> Codestream:
    start = 0
    if data.startswith(JP2):
        check_boxes(data)
        start = data.find(JPEG_2000)
    if start < 0 or len(data) < start + 45:
        raise ImageError("damaged", "JPEG 2000 without a codestream, or cut in its header")
    size = [int.from_bytes(data[at : at + 4]) for at in range(start + 8, start + 40, 4)]
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = size
    samples = int.from_bytes(data[start + 40 : start + 42])
    parts = data[start + 42 : start + 42 + 3 * samples]
    if not 1 <= samples <= 4 or len(parts) < 3 * samples:
        raise ImageError("unsupported", f"JPEG 2000 with {samples} components; a picture has up to 4")
    if min(tile_width, tile_height) < 1 or tile_left > left or tile_top > top or 0 in (*parts[1::3], *parts[2::3]):
        raise ImageError("damaged", "JPEG 2000 whose header describes no possible tiles")
    after = data.find(b"\xff\x52", start)  # coding style, which says whether colours were turned into others
    return Codestream(
        kind="jpeg-2000",
        width=right - left,
        height=bottom - top,
        samples=samples,
        bits=(parts[0] & 0x7F) + 1,
        is_signed=bool(parts[0] & 0x80),
        is_mixed=after > 0 and data[after + 8 : after + 9] == b"\x01",
    )


def check_boxes(data: bytes, begin: int = 0, end: int | None = None) -> None:
    """Refuses a JP2 file whose boxes have lengths that no box can have: decoders follow them for ever.

    Raises:
        ImageError: ``damaged``.
    """
    end = len(data) if end is None else end
    while begin < end:
        length, kind, head = int.from_bytes(data[begin : begin + 4]), data[begin + 4 : begin + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[begin + 8 : begin + 16]), 16
        if length == 0 and kind == b"jp2c" and end == len(data):
            return  # the last box may reach to the end
        if end == len(data) and not any(data[begin:]) and end - begin < 8:
            return  # padding
        if begin + 8 > end or length < head or begin + length > end:
            raise ImageError("damaged", f"JPEG 2000 box {kind.decode('latin-1')!r} at byte {begin}: wrong length")
        if kind in _CONTAINERS:
            check_boxes(data, begin + head, begin + length)
        begin += length
