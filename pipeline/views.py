"""What a view is: its ranges (``ViewSpec``), and for each row one affine matrix and one multiply-add.

Matrices are forward, (2, 3), from stored pixels to view pixels, in continuous coordinates: the centre of the first
pixel is (.5, .5). ``B`` rows; the views of one row differ by their number.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.philox import uniforms
from shards.errors import InputError

Floats = npt.NDArray[np.float64]
_DRAWS = ("angle", "flip", "area", "ratio", "x", "y", "shift_x", "shift_y", "brightness", "contrast")


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """How an image becomes a view.

    The image is flipped, rotated about its centre, cropped and scaled, all in one affine; brightness and contrast join
    the normalisation in one multiply-add, ``contrast * (brightness * x - mean) / std`` with x in 0..1, so nothing is
    clipped in between.
    """

    size: int = 320
    """Side of the square view in pixels."""
    rotation: float = 0.0
    """Angle is uniform in +- this many degrees."""
    flip: float = 0.0
    """Probability of a horizontal flip."""
    area: tuple[float, float] = (1.0, 1.0)
    """Range of the crop's area, as a share of the largest square in the image."""
    ratio: tuple[float, float] = (1.0, 1.0)
    """Range of the crop's width over height, log-uniform."""
    translation: float = 0.0
    """The crop moves by up to +- this share of its side, also over the image's border."""
    random_position: bool = False
    """Place the crop anywhere in the image instead of at its centre."""
    brightness: float = 0.0
    """Brightness factor is uniform in 1 +- this."""
    contrast: float = 0.0
    """Contrast factor is uniform in 1 +- this, about the mean."""
    fill: int = 0
    """Grey level, 0 to 255, of what lies outside the image."""
    mean: float = 0.5020
    """Mean that normalisation takes away, in 0..1."""
    std: float = 0.085585
    """Standard deviation that normalisation divides by, in 0..1."""

    def __post_init__(self) -> None:
        checks = {
            "size": (self.size >= 8, "at least 8 pixels"),
            "rotation": (0 <= self.rotation <= 180, "0 to 180 degrees"),
            "flip": (0 <= self.flip <= 1, "0 to 1"),
            "area": (0 < self.area[0] <= self.area[1] <= 1, "low and high, 0 < low <= high <= 1"),
            "ratio": (0 < self.ratio[0] <= self.ratio[1], "low and high, 0 < low <= high"),
            "translation": (0 <= self.translation <= 1, "0 to 1"),
            "brightness": (0 <= self.brightness < 1, "0 to below 1"),
            "contrast": (0 <= self.contrast < 1, "0 to below 1"),
            "fill": (0 <= self.fill <= 255, "0 to 255"),
            "std": (self.std > 0, "a number above 0"),
        }
        for name, (is_right, wanted) in checks.items():
            if not is_right:
                raise InputError(f"views.{name} {getattr(self, name)}: out of range; give {wanted}")

    def evaluation(self) -> "ViewSpec":
        """The view for evaluation: the largest centred square, same size and normalisation, nothing random."""
        return ViewSpec(size=self.size, fill=self.fill, mean=self.mean, std=self.std)


_MOCO_CXR = ViewSpec(size=320, rotation=10.0, flip=0.5, random_position=True)

PRESETS: dict[str, ViewSpec] = {
    # Sowrirajan et al., MIDL 2021: rotation, flip, 320 crop at full scale, the reference code's mean and deviation.
    "moco_cxr": _MOCO_CXR,
    # Mild crops with brightness and contrast: at small sizes these help where rotation and flip alone do not.
    "crop_contrast": replace(_MOCO_CXR, area=(0.5, 1.0), brightness=0.3, contrast=0.3, mean=0.5, std=0.25),
    "evaluation": _MOCO_CXR.evaluation(),
}


def affines(
    spec: ViewSpec, rows: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], *, epoch: int, seed: int, view: int
) -> Floats:
    """Forward matrices, (B, 2, 3), of one view of each row.

    Args:
        rows: (B,) row numbers, part of the address of the randomness.
        sizes: (B, 2) stored width and height in pixels.
    """
    draw = _draw(rows, epoch=epoch, seed=seed, view=view)
    width, height = sizes[:, 0].astype(np.float64), sizes[:, 1].astype(np.float64)
    angle = np.deg2rad(spec.rotation) * (2.0 * draw["angle"] - 1.0)
    mirror = np.where(draw["flip"] < spec.flip, -1.0, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    # Linear part about the image's centre: mirror x, then rotate.
    a, b, c, d = cos * mirror, -sin, sin * mirror, cos

    side = np.minimum(width, height) * np.sqrt(_between(spec.area, draw["area"]))
    stretch = np.exp(0.5 * _between((np.log(spec.ratio[0]), np.log(spec.ratio[1])), draw["ratio"]))
    crop_width, crop_height = np.minimum(side * stretch, width), np.minimum(side / stretch, height)
    x, y = (draw["x"], draw["y"]) if spec.random_position else (0.5, 0.5)
    left = x * (width - crop_width) + spec.translation * crop_width * (2.0 * draw["shift_x"] - 1.0)
    top = y * (height - crop_height) + spec.translation * crop_height * (2.0 * draw["shift_y"] - 1.0)

    scale_x, scale_y = spec.size / crop_width, spec.size / crop_height
    matrix = np.empty((len(rows), 2, 3))
    matrix[:, 0, 0], matrix[:, 0, 1] = scale_x * a, scale_x * b
    matrix[:, 1, 0], matrix[:, 1, 1] = scale_y * c, scale_y * d
    matrix[:, 0, 2] = scale_x * (width / 2 - (a * width + b * height) / 2 - left)
    matrix[:, 1, 2] = scale_y * (height / 2 - (c * width + d * height) / 2 - top)
    return matrix


def tones(spec: ViewSpec, rows: npt.NDArray[np.int64], *, epoch: int, seed: int, view: int) -> Floats:
    """Gain and bias, (B, 2), that take grey levels 0..255 to the normalised view: ``gain * grey + bias``."""
    draw = _draw(rows, epoch=epoch, seed=seed, view=view)
    brightness = 1.0 + spec.brightness * (2.0 * draw["brightness"] - 1.0)
    contrast = 1.0 + spec.contrast * (2.0 * draw["contrast"] - 1.0)
    return np.stack([contrast * brightness / (255.0 * spec.std), -contrast * spec.mean / spec.std], axis=1)


def shift_half_pixel(matrices: Floats) -> Floats:
    """The same maps in coordinates whose origin is the centre of the first pixel, as OpenCV and Kornia want them."""
    shifted = matrices.copy()
    shifted[..., 2] += 0.5 * matrices[..., :2].sum(axis=-1) - 0.5
    return shifted


def _draw(rows: npt.NDArray[np.int64], *, epoch: int, seed: int, view: int) -> dict[str, Floats]:
    values = uniforms(rows, seed=seed, epoch=epoch, view=view, num_draws=len(_DRAWS))
    return {name: values[:, i] for i, name in enumerate(_DRAWS)}


def _between(bounds: tuple[float, float], uniform: Floats) -> Floats:
    low, high = bounds
    return low + (high - low) * uniform
