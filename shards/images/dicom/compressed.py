"""Compressed pixels: the frame out of its fragments, decoded, and compared with the header."""

from pydicom.encaps import generate_fragments

from shards.images.codecs import decode_stream
from shards.images.codestream import JPEG, JPEG_2000
from shards.images.dicom.image_pixel import ImagePixel, Raw, kind_of
from shards.images.dicom.rle import RLE_START, decode_rle
from shards.images.refusal import ImageError


def decode_compressed(data: bytes, about: ImagePixel) -> Raw:
    """Decodes encapsulated pixels of one frame, which may be cut into several fragments. How they are coded is told by
    their first bytes, as the transfer syntax may be missing.

    Raises:
        ImageError: ``multi-frame``, ``inconsistent``, and those of :func:`shards.images.codecs.decode_stream`.
    """
    table, *fragments = _fragments(data)
    is_rle = fragments[0][4:8] == RLE_START and fragments[0][1:4] == b"\0\0\0"
    marks = (fragments[0][:8],) if is_rle else (JPEG, JPEG_2000)
    num_images = max(len(table) // 4, sum(part.startswith(marks) for part in fragments))
    if num_images > 1:
        raise ImageError("multi-frame", f"DICOM with {num_images} compressed images; a radiograph is one")
    stream = b"".join(fragments)
    if is_rle:
        return decode_rle(data, stream, about)
    found = decode_stream(stream, colors=about.colors)
    height, width = found.values.shape[:2]
    if (about.rows, about.columns) not in ((height, width), (0, 0)):
        said, has = f"Rows {about.rows} and Columns {about.columns}", f"{height} and {width}"
    elif found.is_lossy and found.bits < about.stored:
        said, has = f"Bits Stored {about.stored}", str(found.bits)
    else:
        kind = kind_of(about, found.values, found.colors)
        return Raw(values=found.values, kind=kind, container=found.bits, is_compressed=True, is_signed=found.is_signed)
    raise ImageError("inconsistent", f"DICOM header with {said}, but its compressed image has {has}")


def _fragments(data: bytes) -> list[bytes]:
    """The offset table, empty or not, and the fragments."""
    try:
        parts = list(generate_fragments(data))
    except ValueError as error:
        raise ImageError("damaged", "DICOM whose compressed image is cut, or damaged between its fragments") from error
    if len(parts) < 2:
        raise ImageError("damaged", "DICOM without any fragment of its compressed image")
    return parts
