"""Whether two images show the same picture, whatever their size, quality, format and gray scale: looked up on pixels,
because fingerprints (:mod:`shards.images.fingerprint`) of different chest films can be close.

Compared are 96 x 96 pixels: ranks of gray levels, less their local mean and over their local spread. So a window, a
gamma or an equalised histogram changes little, and ribs and vessels count rather than the shape that all chests share.
Different films that are near by fingerprint correlate at .4 where they lie, .7 at most; copies at .85 and more, or
above .7 where they are small or noisy, but then their fingerprints are nearer than those of different films. What lies
between may be a copy of which a margin was cut, so the one is moved over the other by the affine map that fits best
(ECC, Evangelidis and Psarakis 2008), small first, as that takes .4 ms and the whole 5 ms.
"""

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Detail = npt.NDArray[np.float32]

_SIDE, _SMALL = 96, 32
_NEIGHBOURS = 9  # pixels, of which mean and spread are taken
_LEAST_SPREAD = 5.0  # of 255 ranks: where less varies there is noise alone
_HOPELESS, _PROMISING, _SAME, _SAME_IF_CLOSE = 0.25, 0.6, 0.85, 0.7
_LEAST_COMMON = 0.6  # share of either picture
_SMALL_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)


def detail_of(gray: Image.Image) -> Detail:
    """What is compared of a picture (mode ``L``): (96, 96), mirrored where the picture is, negative where inverted."""
    pixels = np.asarray(gray.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0))
    counts = np.bincount(pixels.ravel(), minlength=256)
    levels = (np.cumsum(counts) - 0.5 * counts) * (255 / pixels.size)
    ranks = levels[pixels].astype(np.float32)
    mean = cv2.blur(ranks, (_NEIGHBOURS, _NEIGHBOURS))
    variance = cv2.blur(ranks * ranks, (_NEIGHBOURS, _NEIGHBOURS)) - mean * mean
    detail: Detail = (ranks - mean) / np.sqrt(np.maximum(variance, _LEAST_SPREAD**2))
    return detail


def is_same(first: Detail, second: Detail, *, is_close: bool = False) -> bool:
    """Whether two pictures are the same, or one is the other less a narrow margin. ``is_close``: their fingerprints are
    nearer than those of different films."""
    in_place = _correlation(first, second)
    is_copy = in_place >= (_SAME_IF_CLOSE if is_close else _SAME)
    if in_place < _HOPELESS or is_copy:
        return is_copy
    small = [cv2.resize(detail, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA) for detail in (first, second)]
    found, warp = _fit(small[0], small[1], np.eye(2, 3, dtype=np.float32), _SMALL_STEPS)
    if found < _PROMISING:
        return False
    ratio = _SIDE / _SMALL
    middle = (ratio - 1) / 2  # of the first small pixel, in whole ones
    warp[:, 2] = ratio * warp[:, 2] + middle * (1 - warp[:, :2].sum(axis=1))
    found, warp = _fit(first, second, warp, _STEPS)
    return found >= _SAME and _common(warp) >= _LEAST_COMMON


def _correlation(first: Detail, second: Detail) -> float:
    spread = float(first.std() * second.std())
    return float(np.mean((first - first.mean()) * (second - second.mean()))) / spread if spread else 0.0


def _fit(
    first: Detail, second: Detail, warp: npt.NDArray[np.float32], steps: tuple[int, int, float]
) -> tuple[float, npt.NDArray[np.float32]]:
    """The correlation of ``first`` with ``second`` moved over it, and the map from the one to the other."""
    try:
        found, warp = cv2.findTransformECC(first, second, warp, cv2.MOTION_AFFINE, steps, None, 1)
    except cv2.error:  # they share too little for the search to go on
        return 0.0, warp
    return found, warp


def _common(warp: npt.NDArray[np.float32]) -> float:
    """The share of the pictures that lies in both, of that picture of which it is less."""
    inside = cv2.warpAffine(
        np.ones((_SIDE, _SIDE), np.float32), warp, (_SIDE, _SIDE), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    share = float(inside.mean())
    return min(share, share * abs(float(np.linalg.det(warp[:, :2]))))
