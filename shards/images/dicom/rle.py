"""RLE Lossless (PS3.5 annex G): decoded by pydicom, after its runs were counted."""

from typing import Any

import numpy as np
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import RLELossless

from shards.images.dicom.image_pixel import ImagePixel, Raw, kind_of
from shards.images.refusal import ImageError

_HEADER_BYTES = 64
RLE_START = _HEADER_BYTES.to_bytes(4, "little")  # where the first part begins, behind the number of parts
_MAX_PARTS = 15


def decode_rle(data: bytes, stream: bytes, about: ImagePixel) -> Raw:
    """Decodes encapsulated ``data``, whose one frame is ``stream``.

    Raises:
        ImageError: ``inconsistent``: parts that hold other than one byte of each pixel; ``no-pixels``, ``damaged``.
    """
    num, samples = about.rows * about.columns, about.samples or 1
    if not num:
        raise ImageError("no-pixels", "DICOM without an image: Rows or Columns are missing")
    lengths = part_lengths(stream)
    depth = len(lengths) // samples
    if len(lengths) != depth * samples or depth not in (1, 2, 4) or set(lengths) - {num, num + 1}:
        message = f"{num:,} pixels of {samples} samples; its compressed image has parts of {lengths} bytes"
        raise ImageError("inconsistent", f"DICOM in RLE with {message}: it is damaged, or the header is another's")
    options: dict[str, Any] = {
        "rows": about.rows,
        "columns": about.columns,
        "number_of_frames": 1,
        "samples_per_pixel": samples,
        "planar_configuration": 0,
        "bits_allocated": 8 * depth,
        "bits_stored": 8 * depth,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2" if samples == 1 else "RGB",
    }
    values, _ = get_decoder(RLELossless).as_array(data, index=0, raw=True, decoding_plugin="pydicom", **options)
    return Raw(values=values, kind=kind_of(about, values), container=8 * depth, is_compressed=True)


def part_lengths(stream: bytes) -> list[int]:
    """How many bytes each part of an RLE image decodes to. Raises ImageError: ``damaged``."""
    num = int.from_bytes(stream[:4], "little")
    starts = np.frombuffer(stream[4 : 4 + 4 * min(num, _MAX_PARTS)], "<u4").tolist()
    is_possible = 1 <= num <= _MAX_PARTS and len(stream) >= _HEADER_BYTES
    if not is_possible or starts != sorted(starts) or starts[0] < _HEADER_BYTES:
        raise ImageError("damaged", "DICOM in RLE: the table of its parts is damaged")
    return [_length(stream[start:end]) for start, end in zip(starts, [*starts[1:], len(stream)], strict=True)]


def _length(part: bytes) -> int:
    total = position = 0
    end = len(part)
    while position < end:
        run = part[position]
        if run < 128:  # that many and one more bytes as they are
            total += min(run + 1, end - position - 1)
            position += run + 2
        else:  # the next byte 257 - run times; 128 means nothing
            total += 257 - run if run > 128 and position + 1 < end else 0
            position += 2 if run > 128 else 1
    return total
