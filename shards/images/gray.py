"""Pixels of any kind to 8-bit gray: Pillow's modes, and colours."""

import numpy as np
from PIL import Image

from shards.images.depth import to_levels

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
_BY_WAY_OF = {"La": "LA", "RGBa": "RGBA", "HSV": "RGB"}  # premultiplied colours, which Pillow turns into no gray


def to_gray(image: Image.Image) -> Image.Image:
    """Any PIL mode to mode ``L``; transparency is dropped. Raises ImageError as :func:`to_levels` does."""
    if image.mode == "L":
        return image
    if image.mode in DEEP_MODES:
        return Image.fromarray(to_levels(np.asarray(image)))
    if image.mode == "LAB":
        return image.getchannel(0)
    return image.convert(_BY_WAY_OF.get(image.mode, image.mode)).convert("L")


def luminance(colors: np.ndarray) -> np.ndarray:
    """Gray (H, W) uint8 of (H, W, 3 or more) uint8 red, green, blue."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(colors[:, :, :3])).convert("L"))
