"""Encoded gray images to pixels on the CPU, by the fastest well-kept decoder for each format."""

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

Pixels = npt.NDArray[np.uint8]


class DecodeError(RuntimeError):
    """An image in a shard that cannot be decoded: the shard was damaged after it was packed."""


def decode_gray(data: memoryview, row: int) -> Pixels:
    """Pixels (H, W) of an encoded JPEG or PNG.

    Raises:
        DecodeError: names the row, so that the sample can be found in the index.
    """
    try:
        if data[:2] == b"\xff\xd8":
            return simplejpeg.decode_jpeg(data, colorspace="GRAY")[:, :, 0]
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    except (ValueError, cv2.error) as error:
        raise DecodeError(f"row {row}: cannot be decoded ({error}); its shard is damaged, pack it again") from error
    if pixels is None:
        raise DecodeError(f"row {row}: neither JPEG nor PNG; its shard is damaged, pack it again")
    return pixels
