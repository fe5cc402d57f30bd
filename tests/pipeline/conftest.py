"""What a view should be, in float64: references that the engines' views are compared with."""

import math
from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture(scope="session")
def warp_reference() -> Callable[..., np.ndarray]:
    """``(pixels (H, W), matrix (2, 3), size, fill) -> (size, size)``: bilinear, by the inverse of a forward matrix in
    continuous coordinates; ``fill`` is a grey level or ``edge``."""

    def warp(pixels: np.ndarray, matrix: np.ndarray, size: int, fill: int | str = 0) -> np.ndarray:
        inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        y, x = np.mgrid[:size, :size] + 0.5
        options = {"mode": "edge"} if fill == "edge" else {"constant_values": fill}
        padded = np.pad(pixels.astype(np.float64), 1, **options)
        (u, v), (height, width) = np.einsum("ij,jyx->iyx", inverse[:2], [x, y, np.ones_like(x)]), padded.shape
        # +1 for the padding, -0.5 for the centre; what lies further out than the padding is as the padding
        u, v = np.clip(u + 0.5, 0, width - 1), np.clip(v + 0.5, 0, height - 1)
        i, j = np.minimum(v.astype(int), height - 2), np.minimum(u.astype(int), width - 2)
        a, b = v - i, u - j
        above = (1 - b) * padded[i, j] + b * padded[i, j + 1]
        below = (1 - b) * padded[i + 1, j] + b * padded[i + 1, j + 1]
        return (1 - a) * above + a * below

    return warp


@pytest.fixture(scope="session")
def blur_reference() -> Callable[..., np.ndarray]:
    """``(image (H, W), sigma) -> (H, W)``: Gaussian in a window that reaches ceil(3 sigma), reflected at the border
    without repeating it; unchanged where sigma is 0."""

    def blur(image: np.ndarray, sigma: float) -> np.ndarray:
        if not sigma:
            return image.astype(np.float64)
        reach = math.ceil(3 * sigma)
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        weights /= weights.sum()
        blurred = np.pad(image.astype(np.float64), reach, mode="reflect")
        for axis in (0, 1):
            blurred = np.apply_along_axis(np.convolve, axis, blurred, weights, mode="valid")
        return blurred

    return blur


@pytest.fixture(scope="session")
def grey_levels() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """``(view (S, S), tone (3,)) -> (S, S)``: the grey levels that gain, bias and gamma made a view of."""

    def levels(view: np.ndarray, tone: np.ndarray) -> np.ndarray:
        gain, bias, gamma = tone
        grey = (view.astype(np.float64) - bias) / gain
        return grey if gamma == 1 else 255 * (grey.clip(0) / 255) ** (1 / gamma)

    return levels
