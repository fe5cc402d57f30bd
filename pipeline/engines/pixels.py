"""Pixels of 8 and of 16 bits: how they are held, here and on a device, and which grey levels 0 to 255 they are.

White is 255 or 65535, so one grey level is 1 or 257 steps. torch computes next to nothing with uint16: on a device,
pixels of 16 bits are held in int16, bit by bit.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from shards.images.depth import Depth

Pixels = npt.NDArray[np.unsignedinteger[Any]]
"""Grey levels (H, W), uint8 or uint16."""
PixelType = np.dtype[np.unsignedinteger[Any]]


def pixel_type(depth: Depth) -> PixelType:
    """How pixels of a depth are held here."""
    return np.dtype(np.uint8 if depth == 8 else np.uint16)


def device_type(kind: PixelType) -> torch.dtype:
    """How such pixels are held on a device."""
    return torch.uint8 if kind == np.uint8 else torch.int16


def steps(kind: PixelType) -> int:
    """Steps of such pixels in one grey level."""
    return 1 if kind == np.uint8 else 257


def device_pixel(grey: int, kind: torch.dtype) -> int:
    """A grey level 0..255 as the pixel of a device."""
    return grey if kind == torch.uint8 else int(np.uint16(257 * grey).astype(np.int16))


def grey_levels(pixels: torch.Tensor) -> torch.Tensor:
    """Grey levels 0..255, float32, of pixels on a device."""
    return pixels.float() if pixels.dtype == torch.uint8 else (pixels.int() & 0xFFFF).float().div_(257)
