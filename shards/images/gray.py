"""Pixels of any kind to gray levels: Pillow's modes, and colours; and levels as pictures to resample."""

import numpy as np
from PIL import Image

from shards.images.depth import Depth, rounded, to_levels

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
_BY_WAY_OF = {"La": "LA", "RGBa": "RGBA", "HSV": "RGB"}  # premultiplied colours, which Pillow turns into no gray
_RED, _GREEN, _BLUE = 19595, 38470, 7471  # of 65536: Pillow's weights (ITU-R BT.601)
STEPS = 257  # of 16 bits in one of 8: white is white in both


def to_gray(image: Image.Image, depth: Depth = 8) -> np.ndarray:
    """Any PIL mode to levels (H, W): uint8, but uint16 of deep modes where ``depth`` is 16; transparency is dropped.
    Raises ImageError as :func:`to_levels` does."""
    if image.mode in DEEP_MODES:
        return to_levels(np.asarray(image), depth=depth)
    if image.mode == "LAB":
        return np.asarray(image.getchannel(0))
    return np.asarray(image.convert(_BY_WAY_OF.get(image.mode, image.mode)).convert("L"))


def luminance(colors: np.ndarray) -> np.ndarray:
    """Gray (H, W) of red, green, blue (H, W, 3 or more), both uint8 or both uint16."""
    if colors.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(colors[:, :, :3])).convert("L"))
    red, green, blue = (colors[:, :, number].astype(np.uint32) for number in range(3))
    return ((_RED * red + _GREEN * green + _BLUE * blue + (1 << 15)) >> 16).astype(np.uint16)


def as_picture(levels: np.ndarray, depth: Depth) -> Image.Image:
    """Levels (H, W), uint8 or uint16, as a picture that can be resampled: mode ``L`` of 8 bits; of 16, mode ``F`` of
    levels 0 to 65535, between which resampling finds others."""
    if depth == 8:
        return Image.fromarray(levels)
    return Image.fromarray(levels * np.float32(STEPS) if levels.dtype == np.uint8 else levels.astype(np.float32))


def as_levels(picture: Image.Image) -> np.ndarray:
    """What :func:`as_picture` made, and resampling may have changed, as levels (H, W)."""
    return np.asarray(picture) if picture.mode == "L" else rounded(np.asarray(picture), 16)


def as_shown(stored: Image.Image) -> Image.Image:
    """A stored picture, of 8 or 16 bits, as screens show it: mode ``L``."""
    if stored.mode != "I;16":
        return stored.convert("L")
    return Image.fromarray(rounded(np.asarray(stored) * np.float32(1 / STEPS), 8))
