"""The sheet a phantom radiograph is drawn on: patient centimetres to pixels, soft layers, smooth fields.

Patient coordinates are in centimetres: ``x`` grows towards the right of the picture, ``y`` downwards, and the origin
is on the midline (frontal) or in the middle of the chest (lateral) at the height of the lung apices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
_Image = TypeVar("_Image", Floats, Bytes)

# OpenCV takes polygon corners in fixed point; 4 bits give sixteenths of a pixel.
_SHIFT = 4
_SUBPIXELS = 1 << _SHIFT
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False, dtype=np.float32)
_UNIT_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).astype(np.float32)


@lru_cache(maxsize=32)
def _spline_weights(num_steps: int) -> Floats:
    """(S, 4) Catmull-Rom weights of the four neighbouring knots at ``num_steps`` places between the inner two."""
    t = np.arange(num_steps, dtype=np.float32) / num_steps
    return np.stack(
        [
            -0.5 * t + t**2 - 0.5 * t**3,
            1 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        ],
        axis=1,
    )


def smooth_curve(knots: ArrayLike, *, num_steps: int = 6, closed: bool = False) -> Floats:
    """(P, 2) points of the Catmull-Rom spline through ``knots`` (K, 2)."""
    points = np.asarray(knots, np.float32)
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    quads = np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]], axis=1)
    curve = np.einsum("sk,qkd->qsd", _spline_weights(num_steps), quads).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def ribbon(curve: Floats, widths: ArrayLike) -> Floats:
    """(..., 2P, 2) closed outlines of bands along curves (..., P, 2), ``widths`` wide (a number, or one a point)."""

    normal = np.empty_like(curve)
    normal[..., 1:-1, :] = curve[..., 2:, ::-1] - curve[..., :-2, ::-1]
    normal[..., 0, :] = curve[..., 1, ::-1] - curve[..., 0, ::-1]
    normal[..., -1, :] = curve[..., -1, ::-1] - curve[..., -2, ::-1]
    normal[..., 0] *= -1
    half = np.float32(0.5) * np.asarray(widths, np.float32)
    normal *= (half / np.maximum(np.hypot(normal[..., 0], normal[..., 1]), 1e-6))[..., None]
    return np.concatenate([curve + normal, (curve - normal)[..., ::-1, :]], axis=-2)


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A sheet of ``height`` x ``width`` pixels onto which ``matrix`` (2, 3) maps patient centimetres."""

    height: int
    width: int
    matrix: Floats

    @cached_property
    def pixels_per_cm(self) -> float:
        (a, b), (c, d) = self.matrix[:, :2].tolist()
        return float(np.sqrt(abs(a * d - b * c)))

    @cached_property
    def _subpixel_matrix(self) -> tuple[Floats, Floats]:
        return np.ascontiguousarray(self.matrix[:, :2].T * _SUBPIXELS), self.matrix[:, 2] * _SUBPIXELS

    def layer(self) -> Bytes:
        """An empty (H, W) layer."""
        return np.zeros((self.height, self.width), np.uint8)

    def _fixed(self, points: Floats, scale: float = 1.0) -> NDArray[np.int32]:
        """Pixel positions of patient points (..., 2) in OpenCV's fixed point."""
        linear, offset = self._subpixel_matrix
        placed = points @ linear + offset
        return np.rint(placed if scale == 1.0 else placed * scale).astype(np.int32)

    def fill(self, layer: Bytes, outline: Floats, value: float, *, scale: float = 1.0) -> None:
        """Fills one closed outline (P, 2) or several (N, P, 2); ``scale`` below 1 on a smaller layer."""
        fixed = self._fixed(outline, scale)
        # One call for each: within one call overlapping outlines would cancel.
        for corners in fixed if fixed.ndim == 3 else (fixed,):
            cv2.fillPoly(layer, [corners], value, cv2.LINE_AA, _SHIFT)

    def stroke(self, layer: Bytes, curves: Sequence[Floats] | Floats, value: float, *, width_cm: float = 0.0) -> None:
        """Strokes open curves, a list of (P, 2) or one array (curves, P, 2), at least one pixel wide."""
        thickness = max(1, round(width_cm * self.pixels_per_cm))
        fixed = (
            list(self._fixed(curves)) if isinstance(curves, np.ndarray) else [self._fixed(curve) for curve in curves]
        )
        cv2.polylines(layer, fixed, False, value, thickness, cv2.LINE_AA, _SHIFT)

    def ellipse(
        self,
        layer: Bytes,
        center: tuple[float, float],
        axes: tuple[float, float],
        value: float,
        *,
        width_cm: float = 0.0,
    ) -> None:
        """Fills an ellipse (half axes in cm), or strokes it where ``width_cm`` is above 0."""
        outline = np.asarray(center, np.float32) + np.asarray(axes, np.float32) * _UNIT_CIRCLE
        if width_cm > 0:
            self.stroke(layer, [np.concatenate([outline, outline[:1]])], value, width_cm=width_cm)
        else:
            self.fill(layer, outline, value)

    def grid(self, step: int) -> tuple[Floats, Floats]:
        """Patient ``x`` and ``y`` at the pixel centres of a sheet ``step`` times smaller, each (H/step, W/step)."""
        rows, columns = -(-self.height // step), -(-self.width // step)
        inverse = cv2.invertAffineTransform(self.matrix).astype(np.float32)
        u = ((np.arange(columns, dtype=np.float32) + 0.5) * step - 0.5)[None, :]
        v = ((np.arange(rows, dtype=np.float32) + 0.5) * step - 0.5)[:, None]
        return inverse[0, 0] * u + inverse[0, 1] * v + inverse[0, 2], inverse[1, 0] * u + inverse[1, 1] * v + inverse[
            1, 2
        ]

    def enlarge(self, field: Floats) -> Floats:
        """A smooth field on a smaller sheet, at full size (H, W)."""
        return cv2.resize(field, (self.width, self.height), interpolation=cv2.INTER_LINEAR)

    def depth_inside(self, outline: Floats, *, step: int, rim_cm: float) -> Floats:
        """(H/step, W/step) elliptic depth inside an outline: 0 at its edge, 1 from ``rim_cm`` inwards.

        The projected thickness of a rounded body seen from the front rises like this from its edge.
        """
        mask = np.zeros((-(-self.height // step), -(-self.width // step)), np.uint8)
        self.fill(mask, outline, 255, scale=1 / step)
        # A padded border of the mask's own edge values keeps the sheet's edge from counting as the body's edge.
        padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        distance = cv2.distanceTransform((padded > 127).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        inward = np.minimum(distance * (step / (rim_cm * self.pixels_per_cm)), 1)
        return np.sqrt(inward * (2 - inward))


def blur(image: _Image, sigma: float) -> _Image:
    """Gaussian blur, ``sigma`` in pixels of ``image``; of bytes it is several times as fast as of floats."""
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.2 else image


def clouds(rng: np.random.Generator, shape: tuple[int, int], cells: Sequence[float]) -> Floats:
    """(H, W) smooth noise of about unit spread, the sum of one octave for each cell size (pixels)."""
    total = np.zeros(shape, np.float32)
    for cell in cells:
        coarse = rng.standard_normal((int(shape[0] / cell) + 3, int(shape[1] / cell) + 3), dtype=np.float32)
        total += cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return total / np.float32(0.75 * np.sqrt(len(cells)))
