"""Pixels of 8 or 16 bits to views outside DALI: warp, blur, gamma, and one multiply-add; by a kernel of our own in CPU
threads, or by Kornia on a device.

``V`` views, ``B`` rows, ``S`` the view's side in pixels. Matrices here are in coordinates whose origin is the centre of
the first pixel (:func:`shift_half_pixel`).

On a CPU the two warps of an image cost more than its decoding with the fastest library that was found (OpenCV, before
kornia-rs, PIL, torchvision and Kornia; ``python -m benchmarks loader`` sets them side by side), so they are the one
place where this package has compiled code: ``affine.c``. Where it could not be compiled, OpenCV does it.
"""

import ctypes
import functools
import math
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import ParamSpec, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from kornia.filters import filter2d_separable, get_gaussian_kernel1d
from kornia.geometry.transform import warp_affine

from pipeline.engines.pixels import Pixels, steps
from pipeline.upload import upload
from pipeline.views import Fill, shift_half_pixel

__all__ = ["blur_window", "is_compiled", "make_views", "make_views_kornia", "shift_half_pixel", "to_pixels"]

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.float32]

Given = ParamSpec("Given")
Made = TypeVar("Made")

WHITE = 255.0
"""The highest grey level."""
_scratch = threading.local()


def _load_kernel(name: str) -> "ctypes._NamedFuncPointer | None":
    found = find_spec("pipeline.engines._affine")
    if found is None or found.origin is None:
        return None
    kernel = getattr(ctypes.CDLL(found.origin), name, None)  # calls through ctypes leave the interpreter's lock
    if kernel is None:
        return None  # compiled of an earlier source
    number, pointer, real = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
    kernel.argtypes = [pointer, pointer, number, number, pointer, pointer, number, real, pointer, ctypes.c_long, number]
    kernel.restype = None
    return kernel


_make_views, _make_deep_views = _load_kernel("make_views"), _load_kernel("make_deep_views")


def is_compiled() -> bool:
    """Whether views are made by our own kernel; where the package was installed without a compiler, by OpenCV."""
    return _make_views is not None


def blur_window(sigma: float) -> int:
    """Side of a Gaussian blur's window in pixels: it reaches three standard deviations to each side."""
    return 2 * math.ceil(3.0 * sigma) + 1


def to_pixels(matrices: Floats) -> Floats:
    """What :func:`make_views` takes: inverses (..., 2, 3) of forward matrices (..., 2, 3) in continuous coordinates,
    from a view's pixels to the image's, the origin in the centre of the first pixel."""
    shifted = shift_half_pixel(matrices)
    a, b, c, d = (shifted[..., i, j] for i in (0, 1) for j in (0, 1))
    inverse = np.empty_like(shifted)
    inverse[..., :2] = np.stack([np.stack([d, -b], axis=-1), np.stack([-c, a], axis=-1)], axis=-2)
    inverse[..., :2] /= (a * d - b * c)[..., None, None]
    inverse[..., 2] = -(inverse[..., :2] @ shifted[..., 2:])[..., 0]
    return inverse


def make_views(pixels: Pixels, inverses: Floats, out: Levels, *, fill: Fill, tones: Floats, sigmas: Floats) -> None:
    """Writes the views of one image, ``gain * grey + bias``, into ``out`` (V, S, S), grey levels raised to gamma first.

    Args:
        pixels: (H, W) uint8 or uint16, contiguous.
        inverses: (V, 2, 3), contiguous, as :func:`to_pixels` gives them.
        out: each view contiguous; where it has been written to before, its pages need not be fetched again.
        tones: gain, bias and gamma, (V, 3).
        sigmas: (V,) standard deviations of a Gaussian blur in pixels of the view; 0 is none.
    """
    size = out.shape[1]
    assert all(array.flags.c_contiguous for array in (pixels, inverses))
    assert (out.dtype, out.strides[1:]) == (np.float32, (4 * size, 4))
    later = np.flatnonzero((sigmas != 0) | (tones[:, 2] != 1))  # whose tones come behind the blur and the power
    plain = tones[:, :2].copy()
    plain[later] = 1.0, 0.0
    each, kernel = steps(pixels.dtype), _make_views if pixels.dtype == np.uint8 else _make_deep_views
    if each > 1:
        plain, fill = plain / [each, 1.0], fill if fill == "edge" else each * fill
    if kernel is None:
        _make_views_opencv(pixels, inverses, out, fill=fill, tones=plain)
    else:
        _make_views_compiled(kernel, pixels, inverses, out, fill=fill, tones=plain)
    for view in later.tolist():
        sigma, (gain, bias, gamma) = float(sigmas[view]), tones[view].tolist()
        if sigma:
            window = blur_window(sigma)
            cv2.GaussianBlur(out[view], (window, window), sigma, dst=out[view], borderType=cv2.BORDER_REFLECT_101)
        if gamma != 1:
            cv2.pow(out[view], gamma, dst=out[view])
            gain *= WHITE ** (1 - gamma)
        cv2.addWeighted(out[view], gain, out[view], 0.0, bias, dst=out[view])


def _make_views_compiled(
    kernel: "ctypes._NamedFuncPointer", pixels: Pixels, inverses: Floats, out: Levels, *, fill: Fill, tones: Floats
) -> None:
    height, width = pixels.shape
    num_views, size, _ = out.shape
    words = getattr(_scratch, "words", None)  # each of four pixels
    if words is None or words.nbytes < 4 * pixels.nbytes:
        words = _scratch.words = np.empty((pixels.nbytes + 1) // 2, dtype=np.uint64)
    kernel(
        _address(pixels),
        _address(words),
        width,
        height,
        _address(inverses),
        _address(tones),
        num_views,
        -1.0 if fill == "edge" else fill,
        _address(out),
        out.strides[0] // 4,
        size,
    )


def _make_views_opencv(pixels: Pixels, inverses: Floats, out: Levels, *, fill: Fill, tones: Floats) -> None:
    """The same without our kernel, within OpenCV's steps of a 32nd of a pixel."""
    _tell_of_opencv()
    grey, size = pixels.astype(np.float32), out.shape[1]
    border = {"borderMode": cv2.BORDER_REPLICATE} if fill == "edge" else {"borderValue": float(fill)}
    for view, inverse, (gain, bias) in zip(out, inverses, tones.tolist(), strict=True):
        seen = np.where(np.isfinite(inverse), inverse, -1e6)  # a view of nothing
        cv2.warpAffine(grey, seen, (size, size), dst=view, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, **border)
        cv2.addWeighted(view, gain, view, 0.0, bias, dst=view)


_IN_CLONE = (Path(__file__).parents[2] / "Makefile").is_file()


@functools.cache
def _tell_of_opencv() -> None:
    print(
        "warning: pipeline/engines/affine.c is not compiled, and OpenCV warps the views instead, more slowly; with a C "
        f"compiler: {'make install' if _IN_CLONE else 'pip install --force-reinstall --no-deps moco-cxr'}",
        file=sys.stderr,
    )


def without_autocast(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """The function, which computes as it is written where its caller has autocast on."""

    @functools.wraps(function)
    def plain(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs)

    return plain


def _address(array: npt.NDArray[np.generic]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


@without_autocast
def make_views_kornia(
    images: torch.Tensor,
    matrices: torch.Tensor,
    *,
    size: int,
    fill: Fill,
    sigmas: torch.Tensor | None,
    tones: torch.Tensor,
    gammas: torch.Tensor | None = None,
) -> torch.Tensor:
    """Views (B, 1, S, S), ``gain * grey + bias``, on the device of ``images``. The host never waits for the device.

    In fp32 also where the caller has autocast on: with matrices in bf16, views are off by up to 150 grey levels.

    Args:
        images: grey levels 0..255, (B, 1, H, W) float32.
        matrices: (B, 2, 3) float32 on the device.
        sigmas: (B,) on the CPU, where the host reads which rows to blur and in what window; 0 is none, as is None.
        tones: gain and bias, (B, 2) float32 on the device.
        gammas: (B,) float32 on the device, to which grey levels are raised first; None: as they are.
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
    if gammas is not None:
        views, level = raised(views + level, gammas[:, None, None, None]), 0
    return torch.addcmul(bias + level * gain, views, gain)


def raised(grey: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Grey levels 0..255 raised to gamma as shares of white."""
    return WHITE * (grey.clamp_min(0.0) / WHITE).pow(gamma)


def _blur(views: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """``views`` with the rows blurred whose sigma, (B,) on the CPU, is above 0."""
    rows = sigmas.nonzero().squeeze(1)
    if not len(rows):
        return views
    window = blur_window(float(sigmas.max()))
    # Kornia's own Gaussian blur uploads the sigmas itself, from memory that is not pinned.
    kernels = upload(get_gaussian_kernel1d(window, sigmas[rows, None]), views.device)
    at = upload(rows, views.device)
    return views.index_copy_(0, at, filter2d_separable(views.index_select(0, at), kernels, kernels))
