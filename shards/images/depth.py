"""Deep pixels to gray levels of 8 or 16 bits: one rule for how many bits a picture has, whatever file it comes in.

A file's type is an upper bound only: 12-bit radiographs come in 16-bit files, and in floating point. So the depth is
the smallest that holds all but the brightest half per cent of the values, as lead markers and a decoder's overshoot may
lie anywhere above; those are white. Where more than half a per cent is negative, zero is in the middle.
"""

import math
from typing import Any, Literal

import numpy as np

from shards.images.refusal import ImageError

Depth = Literal[8, 16]
"""Bits of a stored gray level; white is 255 or 65535."""
CUT = 0.005  # share of the pixels that may lie beyond either end
_OVERSHOOT = 1 / 32  # of whole numbers beyond their depth, as lossy coding leaves it
_FLOAT_OVERSHOOT = 1 / 8  # of fractions beyond 1 or below 0, as resampling leaves it
_LEAST_FLOAT_DEPTH = 128.0  # numbers below this that are no fractions follow no depth, such as standardised ones


def brightest(depth: Depth) -> int:
    """The level of white."""
    return (1 << depth) - 1


def rounded(levels: np.ndarray, depth: Depth) -> np.ndarray:
    """Fractional levels as whole ones, uint8 or uint16; what lies beyond is black or white."""
    kind: type[np.unsignedinteger[Any]] = np.uint8 if depth == 8 else np.uint16
    return np.clip(np.rint(levels), 0, brightest(depth)).astype(kind)


def to_levels(values: np.ndarray, *, bits: int | None = None, depth: Depth = 8) -> np.ndarray:
    """``values`` of any numeric type as gray levels of the same shape: uint8, or uint16 of 16 bits.

    ``bits`` is a depth that the file declares. It is believed if it is no whole number of bytes (12 of 16), for then
    somebody meant it; otherwise no more bits than that are taken. Signed values of a declared depth have zero in the
    middle.

    Raises:
        ImageError: ``damaged``: numbers that are not finite.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ImageError("damaged", "pixels that are not finite numbers")
    low, high = quantiles(values)
    if values.dtype.kind == "f":
        dark, white = _float_range(low, high)
    else:
        has_negatives = low < -_OVERSHOOT * max(high, 0.0)
        is_signed = values.dtype.kind == "i" and (has_negatives or bits is not None)
        dark, white = _whole_range(low, high, is_signed=is_signed, bits=bits)
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:  # a table is faster than arithmetic
        kind = np.iinfo(values.dtype)
        table = _shown(np.arange(kind.min, kind.max + 1), dark, white, depth)
        return table[values.astype(np.int32) - kind.min]
    return _shown(values, dark, white, depth)


def quantiles(values: np.ndarray) -> tuple[float, float]:
    """The values that leave ``CUT`` of all below and above them; they occur among ``values``."""
    flat = values.ravel()
    if flat.dtype.kind == "u" and flat.dtype.itemsize <= 2:
        share = np.cumsum(np.bincount(flat)) / flat.size
        return float(np.searchsorted(share, CUT)), float(np.searchsorted(share, 1.0 - CUT))
    places = [max(0, math.ceil(part * flat.size) - 1) for part in (CUT, 1.0 - CUT)]
    ordered = np.partition(flat, places)
    return float(ordered[places[0]]), float(ordered[places[1]])


def full_scale(top: float) -> float:
    """The largest value of the smallest depth, from 8 bits on, that holds ``top``."""
    return 2.0 ** max(8, _num_bits(top)) - 1.0


def _num_bits(top: float) -> int:
    return math.ceil(math.log2(max(top, 1.0) + 1.0))


def _shown(values: np.ndarray, dark: float, white: float, depth: Depth) -> np.ndarray:
    return rounded((values - dark) * (brightest(depth) / (white - dark)), depth)


def _whole_range(low: float, high: float, *, is_signed: bool, bits: int | None) -> tuple[float, float]:
    """The values of black and white: all of the depth that holds ``low`` to ``high``."""
    reach = max(high, -low - 1.0) if is_signed else high
    depth = max(8, _num_bits(reach / (1.0 + _OVERSHOOT)) + is_signed)
    if bits is not None:
        depth = bits if bits % 8 else min(depth, max(8, bits))
    return (-(2.0 ** (depth - 1)), 2.0 ** (depth - 1) - 1.0) if is_signed else (0.0, 2.0**depth - 1.0)


def _float_range(low: float, high: float) -> tuple[float, float]:
    if low >= -1.0 - _FLOAT_OVERSHOOT and high <= 1.0 + _FLOAT_OVERSHOOT:
        return (-1.0 if low < -_FLOAT_OVERSHOOT else 0.0), 1.0
    if max(high, -low) >= _LEAST_FLOAT_DEPTH:
        return _whole_range(low, high, is_signed=low < -_FLOAT_OVERSHOOT * max(high, 0.0), bits=None)
    return min(low, 0.0), max(high, min(low, 0.0) + 1.0)
