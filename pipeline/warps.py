"""Pixels to views outside DALI: warp, blur, and one multiply-add, by OpenCV in CPU threads or by Kornia on a device.

``B`` rows, ``S`` the view's side in pixels. Matrices here are forward, from stored to view pixels, in coordinates whose
origin is the centre of the first pixel (:func:`shift_half_pixel`).

Two 224 px views of one 390x320 image take a thread about 190 us, 165 us of it in the two bilinear warps, and moco_v2's
blur 50 us more. Warping uint8 and converting what comes out takes 1.4 times as long. Give OpenCV one thread
(``cv2.setNumThreads(1)``) where threads of one's own work on different images.
"""

import math
import threading
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import warp_affine

from pipeline.views import Fill, shift_half_pixel

__all__ = ["blur_window", "float_levels", "make_view_opencv", "make_views_kornia", "shift_half_pixel"]

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_scratch = threading.local()


def blur_window(sigma: float) -> int:
    """Side of a Gaussian blur's window in pixels: it reaches three standard deviations to each side."""
    return 2 * math.ceil(3.0 * sigma) + 1


def float_levels(pixels: Pixels) -> Levels:
    """Grey levels (H, W) as float32, in memory of the calling thread that its next call writes over."""
    flat = getattr(_scratch, "levels", None)
    if flat is None or flat.size < pixels.size:
        flat = _scratch.levels = np.empty(pixels.size, dtype=np.float32)
    levels: Levels = flat[: pixels.size].reshape(pixels.shape)
    np.copyto(levels, pixels)
    return levels


def make_view_opencv(
    levels: Levels | Pixels,
    matrix: Floats,
    out: Levels,
    *,
    fill: Fill,
    sigma: float = 0.0,
    gain: float = 1.0,
    bias: float = 0.0,
) -> None:
    """Writes one view, ``gain * grey + bias``, into ``out`` (S, S).

    Args:
        levels: grey levels 0..255, (H, W). For several views of one image, pass it through :func:`float_levels` first:
            otherwise each view does so.
        matrix: (2, 3).
        out: contiguous; where it has been written to before, its pages need not be fetched again.
        sigma: standard deviation of a Gaussian blur in pixels of the view; 0 is none.
    """
    source = levels if levels.dtype == np.float32 else float_levels(cast(Pixels, levels))
    border: dict[str, Any] = {"borderMode": cv2.BORDER_REPLICATE} if fill == "edge" else {"borderValue": fill}
    cv2.warpAffine(source, matrix, out.shape[::-1], dst=out, flags=cv2.INTER_LINEAR, **border)
    if sigma > 0:
        window = blur_window(sigma)
        cv2.GaussianBlur(out, (window, window), sigma, dst=out, borderType=cv2.BORDER_REFLECT_101)
    # The quickest of OpenCV's and NumPy's ways to do gain * out + bias in place.
    cv2.addWeighted(out, gain, out, 0.0, bias, dst=out)


def make_views_kornia(
    images: torch.Tensor,
    matrices: torch.Tensor,
    *,
    size: int,
    fill: Fill,
    sigmas: torch.Tensor | None,
    tones: torch.Tensor,
) -> torch.Tensor:
    """Views (B, 1, S, S), ``gain * grey + bias``, on the device of ``images``. The host never waits for the device.

    Args:
        images: grey levels 0..255, (B, 1, H, W) float32.
        matrices: (B, 2, 3) float32 on the device.
        sigmas: (B,) on the CPU, where the host reads which rows to blur and in what window; 0 is none, as is None.
        tones: gain and bias, (B, 2) float32 on the device.
    """
    # Zeros lie outside, so that the fill is taken away before and comes back with the bias: Kornia's own way to fill
    # warps a mask besides.
    level = 0 if fill == "edge" else fill
    views = warp_affine(
        images - level if level else images,
        matrices,
        (size, size),
        padding_mode="border" if fill == "edge" else "zeros",
        align_corners=True,
    )
    if sigmas is not None:
        views = _blur(views, sigmas.to(dtype=torch.float32))
    gain, bias = tones[:, :, None, None, None].unbind(1)
    return torch.addcmul(bias + level * gain, views, gain)


def _blur(views: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """``views`` with the rows blurred whose sigma, (B,) on the CPU, is above 0."""
    rows = sigmas.nonzero().squeeze(1)
    if not len(rows):
        return views
    window = blur_window(float(sigmas.max()))
    pairs = sigmas[rows, None].expand(-1, 2)
    at = rows.to(views.device, non_blocking=True)
    return views.index_copy_(0, at, gaussian_blur2d(views.index_select(0, at), window, pairs))
