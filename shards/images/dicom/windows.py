"""How stored values are meant to be shown: the modality transform, then a VOI LUT or a window, else all of the values.

The header may offer several ways. One that cannot be computed, or that shows the image in a single gray level, is
passed over.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from shards.images.depth import CUT, full_scale
from shards.images.dicom.header import items, number, numbers, text
from shards.images.dicom.luts import read_lut


@dataclass(frozen=True, kw_only=True)
class Levels:
    """The values that pixels may have, and how many of the image's pixels (padding left out) have each.

    ``is_ready`` tells 8-bit images, which without a window are shown as they are.
    """

    values: np.ndarray
    counts: np.ndarray
    is_ready: bool

    def quantiles(self, shown: np.ndarray) -> tuple[float, float]:
        """What ``CUT`` of the pixels lie below and above of, in ``shown``, which is something of each level."""
        present = self.counts > 0
        counts, shown = self.counts[present], shown[present]
        order = np.argsort(shown, kind="stable")
        share = np.cumsum(counts[order]) / counts.sum()
        low, high = (shown[order[np.searchsorted(share, part)]] for part in (CUT, 1.0 - CUT))
        return float(low), float(high)


def show(levels: Levels, header: Dataset) -> np.ndarray:
    """What each level looks like, 0 to 1 (float64)."""
    if not levels.counts.any():
        return np.zeros(len(levels.values))
    values = _rescale(levels, header)
    for shown in _ways(levels, values, header):
        dark, bright = levels.quantiles(shown)
        if round(255 * dark) != round(255 * bright):
            return shown
    return _stretch(levels, values)


def _rescale(levels: Levels, header: Dataset) -> np.ndarray:
    """The modality LUT or the rescale (PS3.3 C.11.1)."""
    present = levels.values[levels.counts > 0]
    low, high = float(present.min()), float(present.max())
    for item in items(header, "ModalityLUTSequence"):
        lut = read_lut(item, low=low, high=high)
        if lut is not None and lut.covers(high):
            values = lut.apply(levels.values)
            if len(set(levels.quantiles(values))) > 1:
                return values
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    values = levels.values * (1.0 if slope is None or slope == 0.0 else slope) + (intercept or 0.0)
    return values if len(set(levels.quantiles(values))) > 1 else levels.values


def _ways(levels: Levels, values: np.ndarray, header: Dataset) -> Iterator[np.ndarray]:
    """What the header's VOI LUTs and windows (PS3.3 C.11.2) make of ``values``, those that are usable."""
    present = values[levels.counts > 0]
    low, high = float(present.min()), float(present.max())
    for item in items(header, "VOILUTSequence"):
        lut = read_lut(item, low=low, high=high)
        if lut is not None and lut.covers(levels.quantiles(values)[1]):
            # the depth in the descriptor is often more than what is used
            yield np.minimum(lut.apply(values) / full_scale(float(lut.entries.max())), 1.0)
    function = text(header, "VOILUTFunction").upper()
    for center, width in zip(numbers(header, "WindowCenter"), numbers(header, "WindowWidth"), strict=False):
        if center is None or width is None:
            continue
        if function == "SIGMOID" and width > 0:
            yield 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700)))
        elif function == "LINEAR_EXACT" and width > 0:
            yield np.clip((values - center) / width + 0.5, 0.0, 1.0)
        elif width > 1:
            yield np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def _stretch(levels: Levels, values: np.ndarray) -> np.ndarray:
    """``values`` from 0 to 1: an 8-bit image as it is, others between those that cut off ``CUT`` of the pixels at
    either end, or else all."""
    low, high = float(values.min()), float(values.max())
    if not levels.is_ready:
        low, high = levels.quantiles(values)
        if low == high:
            present = values[levels.counts > 0]
            low, high = float(present.min()), float(present.max())
    return np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.zeros(len(values))
