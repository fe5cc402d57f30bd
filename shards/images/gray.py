"""Pixels of any kind to 8-bit gray, and the error for images that cannot be packed."""

import math

import numpy as np
from PIL import Image

MAX_PIXELS = 80_000_000  # the largest films are digitised at some 50 megapixels; a bomb claims far more
MIN_SIDE = 8
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
_TIFF_PHOTOMETRIC = 262


class ImageError(ValueError):
    """An image that cannot be packed; ``reason`` is its class in ``rejected.parquet``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str]]:
        return ImageError, (self.reason, str(self))


def check_size(width: int, height: int) -> None:
    """Refuses a header that claims more pixels than a radiograph has, before anything is decoded, and what is too small
    to show anything."""
    if width * height > MAX_PIXELS:
        raise ImageError("too-large", f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are decoded")
    if min(width, height) < MIN_SIDE:
        raise ImageError("too-small", f"{width} x {height} pixels; at least {MIN_SIDE} a side are needed")


def to_gray(image: Image.Image) -> Image.Image:
    """Any PIL mode to mode ``L``. Deep images are scaled by their own bit depth, which is the smallest from 8 to 16
    (or, beyond that, 32) bits that holds their largest value; transparency is dropped."""
    if image.mode == "L":
        return image
    if image.mode not in _DEEP_MODES:
        return image.convert("L")
    pixels = np.asarray(image).astype(np.float64)  # Pillow reads a deep image's values in the machine's byte order
    if not np.isfinite(pixels).all():
        raise ImageError("damaged", "pixels that are not finite numbers")
    top = float(pixels.max(initial=0.0))
    unit = image.mode == "F" and top <= 1.0
    full = 1.0 if unit else full_scale(top)
    gray = np.clip(np.rint(pixels * (255.0 / full)), 0, 255).astype(np.uint8)
    if image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
        gray = 255 - gray  # white is zero: Pillow heeds it for 1 and 8 bits only
    return Image.fromarray(gray)


def full_scale(top: float) -> float:
    """The largest value of the smallest depth, from 8 bits on, that holds ``top``."""
    return float(2.0 ** max(8, math.ceil(math.log2(max(top, 1.0) + 1.0))) - 1.0)
