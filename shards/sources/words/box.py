"""Boxes, from the numbers that lists hold for them."""

import math
from collections.abc import Sequence

from shards.format.boxes import Box


def parse_box(label: str, numbers: Sequence[str], *, by_corners: bool = False, reader: str | None = None) -> Box | None:
    """A box of four numbers as text: x, y, width, height, or x, y and the opposite corner where ``by_corners``. None
    where these are no four finite numbers, or enclose nothing."""
    try:
        x, y, right, bottom = map(float, numbers)
    except ValueError:
        return None
    width, height = (right - x, bottom - y) if by_corners else (right, bottom)
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        return None
    return Box(label, x, y, width, height, reader)
