"""Pixels that are not compressed."""

import numpy as np

from shards.images.dicom.image_pixel import ImagePixel, Raw, kind_of
from shards.images.refusal import ImageError


def read_native(data: bytes, about: ImagePixel, *, is_words: bool) -> Raw:
    """``is_words`` tells bytes that are written as words, whose order then is swapped in big-endian files.

    Raises:
        ImageError: ``unsupported``, and those of :func:`check_length`.
    """
    samples = about.samples or (1 if about.colors is None else 3)
    num = about.rows * about.columns
    allocated = about.allocated or (16 if len(data) >= 2 * num * samples else 8)
    if samples not in (1, 3) or allocated not in (1, 8, 16, 32):
        message = (
            f"DICOM with Samples per Pixel {samples} and Bits Allocated {allocated}; 1 or 3 of 1, 8, 16 or 32 are read"
        )
        raise ImageError("unsupported", message)
    if samples == 1 and about.colors is not None:
        message = f"DICOM with one sample a pixel of Photometric Interpretation {about.photometric}"
        raise ImageError("inconsistent", message)
    is_shared = about.photometric == "YBR_FULL_422" and 8 * len(data) < num * samples * allocated
    per_pixel = 2 if is_shared else samples
    check_length(data, about, bits_per_pixel=per_pixel * allocated)
    values = _numbers(data, num * per_pixel, allocated, is_big=about.is_big_endian, is_words=is_words)
    if is_shared:  # luminance of two pixels, and the chroma that they share
        values = values.reshape(-1, 4)[:, :2].reshape(about.rows, about.columns)
    elif samples == 1:
        values = values.reshape(about.rows, about.columns)
    elif about.is_planar:
        values = np.moveaxis(values.reshape(samples, about.rows, about.columns), 0, 2)
    else:
        values = values.reshape(about.rows, about.columns, samples)
    return Raw(values=values, kind=kind_of(about, values), container=allocated)


def check_length(data: bytes, about: ImagePixel, *, bits_per_pixel: int) -> None:
    """Refuses pixel data that are too short, or so much too long that rows or columns may be other than they say.

    Some devices fill up to a block of the disk: with less than a row of anything, or less than an image of one byte.

    Raises:
        ImageError: ``damaged`` (too short), ``inconsistent`` (too long).
    """
    needed = -(-about.rows * about.columns * bits_per_pixel // 8)
    spare = data[needed:]
    row = min(about.rows, about.columns) * bits_per_pixel // 8
    if len(data) >= needed and (len(spare) < max(row, 2) or (len(spare) < needed and len(set(spare)) == 1)):
        return
    asked = f"{about.rows} rows and {about.columns} columns of {bits_per_pixel} bits take {needed:,} bytes"
    if len(data) < needed:
        raise ImageError("damaged", f"DICOM cut, or with another image's header: {asked}, Pixel Data has {len(data):,}")
    times = f", {len(data) // needed} times as many" if len(data) // needed > 1 and len(data) % needed < 2 else ""
    raise ImageError("inconsistent", f"DICOM header and pixels disagree: {asked}, Pixel Data has {len(data):,}{times}")


def _numbers(data: bytes, num: int, allocated: int, *, is_big: bool, is_words: bool) -> np.ndarray:
    if allocated == 1:
        return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:num]
    if allocated == 8 and is_big and is_words:
        return np.frombuffer(data + bytes(len(data) % 2), np.uint16).byteswap().view(np.uint8)[:num]
    return np.frombuffer(data, f"{'>' if is_big else '<'}u{allocated // 8}", count=num)
