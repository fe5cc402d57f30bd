"""Encoded gray images to pixels on the CPU, by the fastest well-kept decoder for each format."""

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

Pixels = npt.NDArray[np.uint8]


def decode_gray(data: memoryview, out: Pixels | None = None) -> Pixels:
    """Pixels (H, W) of an encoded JPEG or PNG.

    Args:
        out: contiguous (H, W) pixels to decode into and return: for a JPEG 30 % less time than fresh memory takes.

    Raises:
        ValueError: it cannot be decoded, or is of another size than ``out``.
    """
    if data[:2] == b"\xff\xd8":
        buffer = None if out is None else out[:, :, None]
        pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY", buffer=buffer)[:, :, 0]
    else:
        try:
            pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
        except cv2.error as error:
            raise ValueError(str(error)) from error
        if pixels is None:
            raise ValueError("neither JPEG nor PNG")
    if out is None:
        return pixels
    if pixels.shape != out.shape:
        raise ValueError(f"it is {pixels.shape[1]}x{pixels.shape[0]} px instead of {out.shape[1]}x{out.shape[0]}")
    if not np.may_share_memory(pixels, out):
        out[:] = pixels
    return out
