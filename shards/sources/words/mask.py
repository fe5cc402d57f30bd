"""Masks as run lengths, of which the box around them is kept."""

import numpy as np

from shards.format.boxes import Box

NOTHING = frozenset({"-1", ""})


def mask_box(label: str, text: str, *, side: int, reader: str | None = None) -> Box | None:
    """The box around a mask of ``side`` x ``side`` pixels, which is written column by column as pairs of numbers: how
    many pixels are passed over since the last run, and how many are of the mask (as SIIM-ACR's challenge of 2019 does).
    None where these are no such runs."""
    try:
        numbers = np.array(text.split(), dtype=np.int64)
    except ValueError:
        return None
    if not len(numbers) or len(numbers) % 2 or numbers.min() < 0:
        return None
    skipped, lengths = numbers[0::2], numbers[1::2]
    ends = np.cumsum(skipped + lengths)
    kept = lengths > 0
    if ends[-1] > side * side or not kept.any():
        return None
    first, last = (ends - lengths)[kept], ends[kept] - 1
    left, right = int(first[0] // side), int(last[-1] // side)
    if (first // side == last // side).all():
        top, bottom = int((first % side).min()), int((last % side).max())
    else:  # a run that goes on in the next column touches both edges
        top, bottom = 0, side - 1
    return Box(label, left, top, right - left + 1, bottom - top + 1, reader)
