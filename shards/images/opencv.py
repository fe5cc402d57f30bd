"""OpenCV's decoder, for deep images that Pillow refuses or cuts to 8 bits."""

import numpy as np

from shards.images.refusal import ImageError


def decode_deep(data: bytes, *, bits: int) -> np.ndarray:
    """The samples (H, W) or (H, W, 3 or 4; red, green, blue first) of a PNG or TIFF of ``bits`` a sample, turned
    as a TIFF's orientation says.

    Raises:
        ImageError: ``unsupported``: it cannot be read, or not in all its depth.
    """
    import cv2  # takes a third of a second, and few files need it

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        samples = None
    if samples is None or samples.dtype.itemsize * 8 < bits:
        raise ImageError("unsupported", f"{bits} bits a sample, in a form that is not read; 8 or 16 bits gray are")
    return samples[:, :, 2::-1] if samples.ndim == 3 else samples
