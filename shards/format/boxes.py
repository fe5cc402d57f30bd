"""Boxes: what a reader drew around a finding, and how it moves with its picture.

The index has them in the column ``boxes``, a list an image: nothing where nobody drew any, an empty list where somebody
looked and found nothing to draw. ``x`` and ``y`` are the upper left corner; all four numbers are in stored pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

BOXES = "boxes"
BOX_TYPE = pa.list_(
    pa.struct(
        [
            ("label", pa.string()),
            ("x", pa.float32()),
            ("y", pa.float32()),
            ("width", pa.float32()),
            ("height", pa.float32()),
            ("reader", pa.string()),
        ]
    )
)
_SLACK = 0.02  # of a side that a box may reach beyond it, as boxes drawn by hand do; they are cut there


class Box(NamedTuple):
    """A finding's place: ``label`` in the release's own words, upper left corner and size in pixels, and who drew it,
    None where that is not said."""

    label: str
    x: float
    y: float
    width: float
    height: float
    reader: str | None = None


class BoxesOutside(ValueError):
    """A box lies beyond its picture, which is then of another size than the one that was drawn on."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How pixels that boxes are given in become stored ones. ``given``, ``stored`` are (width, height) of the upright
    picture; ``is_square``: the largest centred square of it was kept."""

    given: tuple[int, int]
    stored: tuple[int, int]
    is_square: bool = False

    def place(self, boxes: Sequence[Box]) -> list[Box]:
        """The boxes in stored pixels, cut at the picture's edges; those of which nothing is kept are left out.

        Raises:
            BoxesOutside: a box reaches further beyond the picture than a hand slips.
        """
        width, height = self.given
        side = min(self.given)
        kept = (side, side) if self.is_square else self.given
        left, top = (width - kept[0]) / 2, (height - kept[1]) / 2
        across, down = self.stored[0] / kept[0], self.stored[1] / kept[1]
        placed = []
        for box in boxes:
            right, bottom = box.x + box.width, box.y + box.height
            slack_x, slack_y = max(2.0, _SLACK * width), max(2.0, _SLACK * height)
            inside = -slack_x <= box.x and right <= width + slack_x and -slack_y <= box.y
            if not (inside and bottom <= height + slack_y and box.width > 0 and box.height > 0):
                raise BoxesOutside(
                    f"a box of {box.label!r} spans {box.x:g} to {right:g} across and {box.y:g} to {bottom:g} down, but "
                    f"the picture it was drawn on has {width} x {height} pixels; is this a resized copy?"
                )
            x, end_x = (min(max((edge - left) * across, 0.0), self.stored[0]) for edge in (box.x, right))
            y, end_y = (min(max((edge - top) * down, 0.0), self.stored[1]) for edge in (box.y, bottom))
            if end_x > x and end_y > y:
                placed.append(box._replace(x=x, y=y, width=end_x - x, height=end_y - y))
        return placed


def as_rows(boxes: Sequence[Box] | None) -> list[dict[str, object]] | None:
    """Boxes as the index holds them."""
    return None if boxes is None else [box._asdict() for box in boxes]
