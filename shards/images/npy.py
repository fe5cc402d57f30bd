"""NumPy's files of one array (``.npy``): a picture (H, W) of whole numbers or floats.

Only the header is parsed, by NumPy, within its limit; nothing is ever unpickled.
"""

import io

import numpy as np

from shards.images.refusal import ImageError, check_size

SIGNATURE = b"\x93NUMPY"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LONGEST = 10_000  # bytes of a header
_KINDS = {
    "O": "Python objects, which are never unpickled",
    "V": "fields or raw bytes",
    "c": "complex numbers",
    "b": "true and false",
}


def decode_npy(data: bytes) -> np.ndarray:
    """The array (H, W) of a file, as whole numbers or floats of the machine's byte order, as they were stored.

    Raises:
        ImageError: ``damaged`` (a header that cannot be read, fewer or more bytes than it says), ``unsupported``
            (not two axes; objects, texts and whatever else is no number), ``too-large``, ``too-small``.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = _HEADERS.get(version)
        if read_header is None:
            raise ImageError("unsupported", f"NumPy file of version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
        shape, is_by_column, kind = read_header(file, max_header_size=_LONGEST)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # whatever Python's own parser raises
        raise ImageError("damaged", "NumPy file whose header cannot be read, or is cut") from error
    if kind.kind not in "iuf":
        what = _KINDS.get(kind.kind, f"type {kind}")
        raise ImageError("unsupported", f"NumPy array of {what}; a picture has whole numbers or floats")
    if len(shape) != 2:
        raise ImageError(
            "unsupported", f"NumPy array of {len(shape)} axes {shape}; a picture has two, rows and columns"
        )
    height, width = shape
    check_size(width, height)
    there, needed = len(data) - file.tell(), height * width * kind.itemsize
    if there != needed:
        why = "it is cut" if there < needed else "something else follows"
        raise ImageError("damaged", f"NumPy file with {there:,} bytes of pixels, its header says {needed:,}: {why}")
    values = np.frombuffer(data, kind, offset=file.tell()).reshape(shape, order="F" if is_by_column else "C")
    return np.ascontiguousarray(values, dtype=np.float32 if kind == np.float16 else kind.newbyteorder("="))
