"""What a view is: its ranges (``ViewSpec``), and for each row one affine matrix, blur, power and multiply-add.

Matrices are forward, (2, 3), from stored pixels to view pixels, in continuous coordinates: the centre of the first
pixel is (.5, .5). ``B`` rows; the views of one row differ by their number.
"""

import difflib
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.philox import Epochs, uniforms
from shards.base.bounds import Probability, ShareBelowOne, Side
from shards.base.dataclass_io import check_fields
from shards.base.errors import InputError

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Fill = Annotated[int, Field(ge=0, le=255)] | Literal["edge"]
_AreaShare = Annotated[float, Field(ge=1e-4, le=1)]  # of a smaller crop, at most a few pixels would be left
_Ratio = Annotated[float, Field(ge=0.01, le=100)]
_Gamma = Annotated[float, Field(ge=0.05, le=20)]
_Sigma = Annotated[float, Field(gt=0, le=8192)]
# Only ever appended to, so that a seed keeps its views from one version to the next.
_DRAWS = (
    *("angle", "flip", "area", "ratio", "x", "y", "shift_x", "shift_y", "brightness", "contrast"),
    *("jitter", "blur", "sigma", "gamma"),
)


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """How an image becomes a view.

    The image is flipped, rotated about its centre, cropped and scaled, all in one affine; the view may be blurred, and
    its grey levels x, in 0..1, raised to a power; brightness and contrast join the normalisation in one multiply-add,
    ``contrast * (brightness * x ** gamma - mean) / std``, so nothing is clipped in between.
    """

    size: Side = 320
    """Side of the square view in pixels."""
    rotation: Annotated[float, Field(ge=0, le=180, description="in degrees")] = 0.0
    """Angle is uniform in +- this many degrees."""
    flip: Probability = 0.0
    """Probability of a horizontal flip."""
    area: tuple[_AreaShare, _AreaShare] = (1.0, 1.0)
    """Range of the crop's area, as a share of the largest square in the image."""
    ratio: tuple[_Ratio, _Ratio] = (1.0, 1.0)
    """Range of the crop's width over height, log-uniform."""
    translation: Probability = 0.0
    """The crop moves by up to +- this share of its side, also over the image's border."""
    random_position: bool = False
    """Place the crop anywhere in the image instead of at its centre."""
    brightness: ShareBelowOne = 0.0
    """Brightness factor is uniform in 1 +- this."""
    contrast: ShareBelowOne = 0.0
    """Contrast factor is uniform in 1 +- this, about the mean."""
    jitter: Probability = 1.0
    """Probability that brightness and contrast change at all."""
    blur: Probability = 0.0
    """Probability of a Gaussian blur."""
    sigma: tuple[_Sigma, _Sigma] = (0.1, 2.0)
    """Range of the blur's standard deviation in pixels of the view."""
    gamma: tuple[_Gamma, _Gamma] = (1.0, 1.0)
    """Range of gamma, log-uniform: grey levels, as shares of white, are raised to it, before brightness."""
    fill: Fill = 0
    """What lies outside the image: a grey level, 0 (black) to 255, or ``edge``, which repeats the border pixel."""
    small_crops: Annotated[int, Field(ge=0, le=64, description="usually 6 to 8")] = 0
    """Further views of each image, small crops at a lower size (multi-crop, Caron et al. 2020, arXiv 2006.09882); all
    else of them is as above."""
    small_size: Side | None = None
    """Side of a small crop in pixels; default: 3/7 of ``size``, as 96 of 224."""
    small_area: tuple[_AreaShare, _AreaShare] = (0.05, 0.25)
    """Range of a small crop's area, as a share of the largest square in the image."""
    mean: Probability = 0.5020
    """Mean that normalisation takes away, in 0..1."""
    std: Annotated[float, Field(ge=1e-6, le=1)] = 0.085585
    """Standard deviation that normalisation divides by, in 0..1."""

    def __post_init__(self) -> None:
        check_fields(self, "views")
        for name, most, words in (
            ("area", 1.0, ""),
            ("small_area", 1.0, ""),
            ("ratio", np.inf, ""),
            ("gamma", np.inf, ""),
            ("sigma", (self.size - 1) / 3, "; at most a third of views.size, beyond which the blur's window reaches"),
        ):
            low, high = getattr(self, name)
            self._require(name, low <= high <= most, f"low and high, low <= high{words}")

        if self.small_crops:
            self.small()._require_size(self.size)

    def _require_size(self, most: int) -> None:
        if self.size > most:
            raise InputError(f"views.small_size {self.size}: above views.size {most}; give at most that")

    def _require(self, name: str, is_right: bool, wanted: str) -> None:
        if not is_right:
            raise InputError(f"views.{name} {getattr(self, name)}: out of range; give {wanted}")

    def small(self) -> "ViewSpec":
        """What a small crop is."""
        size = round(3 / 7 * self.size) if self.small_size is None else self.small_size
        return replace(self, size=size, area=self.small_area, small_crops=0)

    def evaluation(self) -> "ViewSpec":
        """The view for evaluation: the largest centred square, same size and normalisation, nothing random."""
        return ViewSpec(size=self.size, fill=self.fill, mean=self.mean, std=self.std)


_MOCO_CXR = ViewSpec(size=320, rotation=10.0, flip=0.5, random_position=True)

PRESETS: dict[str, ViewSpec] = {
    # Sowrirajan et al., MIDL 2021: rotation, flip, 320 crop at full scale, the reference code's mean and deviation.
    "moco_cxr": _MOCO_CXR,
    # Mild crops with brightness and contrast: at small sizes these help where rotation and flip alone do not.
    "crop_contrast": replace(_MOCO_CXR, area=(0.5, 1.0), brightness=0.3, contrast=0.3, mean=0.5, std=0.25),
    # Chen et al. 2020 (arXiv 2003.04297), without what needs colour. Two differences: the crop's area is a share of the
    # largest square, not of the whole image, and mean and deviation are those of chest X-rays (300 images each of two
    # public collections: means .48 and .55, deviations .24 and .25), not ImageNet's.
    "moco_v2": ViewSpec(
        size=224,
        flip=0.5,
        area=(0.2, 1.0),
        ratio=(3 / 4, 4 / 3),
        random_position=True,
        brightness=0.4,
        contrast=0.4,
        jitter=0.8,
        blur=0.5,
        sigma=(0.1, 2.0),
        mean=0.5,
        std=0.25,
    ),
    "evaluation": _MOCO_CXR.evaluation(),
}


def preset(name: str) -> ViewSpec:
    """The views of that name in :data:`PRESETS`.

    Raises:
        InputError: there are none, with the nearest name.
    """
    if name not in PRESETS:
        (nearest,) = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0)
        raise InputError(f"views {name}: no such preset; did you mean {nearest}? They are {', '.join(PRESETS)}")
    return PRESETS[name]


def affines(spec: ViewSpec, rows: Rows, sizes: Rows, *, epoch: Epochs, seed: int, view: int) -> Floats:
    """Forward matrices, (B, 2, 3), of one view of each row.

    Args:
        rows: (B,) row numbers, part of the address of the randomness.
        sizes: (B, 2) stored width and height in pixels.
        epoch: of all rows, or of each, (B,), where a row comes more than once in an epoch.
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


def tones(spec: ViewSpec, rows: Rows, *, epoch: Epochs, seed: int, view: int) -> Floats:
    """Gain, bias and gamma, (B, 3), that take grey levels 0..255 to the normalised view: ``gain * grey + bias`` of
    ``255 * (grey / 255) ** gamma``."""
    brightness, contrast, gamma = np.ones((3, len(rows)))
    if spec.gamma != (1.0, 1.0):
        draw = _draw(rows, epoch=epoch, seed=seed, view=view)
        gamma = np.exp(_between((np.log(spec.gamma[0]), np.log(spec.gamma[1])), draw["gamma"]))
    if spec.brightness or spec.contrast:
        draw = _draw(rows, epoch=epoch, seed=seed, view=view)
        applies = draw["jitter"] < spec.jitter
        brightness = np.where(applies, 1.0 + spec.brightness * (2.0 * draw["brightness"] - 1.0), 1.0)
        contrast = np.where(applies, 1.0 + spec.contrast * (2.0 * draw["contrast"] - 1.0), 1.0)
    gain, bias = contrast * brightness / (255.0 * spec.std), -contrast * spec.mean / spec.std
    return np.stack([gain, bias, gamma], axis=1)


def sigmas(spec: ViewSpec, rows: Rows, *, epoch: Epochs, seed: int, view: int) -> Floats:
    """Standard deviation of each view's Gaussian blur in its pixels, (B,); 0 where it is not blurred."""
    if not spec.blur:
        return np.zeros(len(rows))
    draw = _draw(rows, epoch=epoch, seed=seed, view=view)
    return np.where(draw["blur"] < spec.blur, _between(spec.sigma, draw["sigma"]), 0.0)


def shift_half_pixel(matrices: Floats) -> Floats:
    """The same maps in coordinates whose origin is the centre of the first pixel, as OpenCV and Kornia want them."""
    shifted = matrices.copy()
    shifted[..., 2] += 0.5 * matrices[..., :2].sum(axis=-1) - 0.5
    return shifted


def _draw(rows: Rows, *, epoch: Epochs, seed: int, view: int) -> dict[str, Floats]:
    values = uniforms(rows, seed=seed, epoch=epoch, view=view, num_draws=len(_DRAWS))
    return {name: values[:, i] for i, name in enumerate(_DRAWS)}


def _between(bounds: tuple[float, float], uniform: Floats) -> Floats:
    low, high = bounds
    return low + (high - low) * uniform
