"""What every table of images has: columns that say which image a row is, and why it could not be read."""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from eval.inference.images import Given, GivenImages, Refused
from shards.base.errors import InputError
from shards.images.store import ImageSpec

KEYS = ("input", "key", "path", "refused", "message")
"""Text: the input, key and place in it; the reason and words where it could not be read, else null."""


def key_columns(images: Sequence[Given]) -> dict[str, list[Any]]:
    """The columns :data:`KEYS` of some images."""
    refused = [each.stored if isinstance(each.stored, Refused) else None for each in images]
    return {
        "input": [each.source for each in images],
        "key": [each.key for each in images],
        "path": [each.path for each in images],
        "refused": [each and each.reason for each in refused],
        "message": [each and each.message for each in refused],
    }


def spread(values: Sequence[Any], rows: Sequence[int], num_rows: int) -> list[Any]:
    """The values at their rows, and None elsewhere."""
    column: list[Any] = [None] * num_rows
    for row, value in zip(rows, values, strict=True):
        column[row] = value
    return column


class Tally:
    """Counts the images that were read and those that were not."""

    def __init__(self, images: GivenImages) -> None:
        self._images = images
        self._num_read = 0
        self._reasons: Counter[str] = Counter()
        self._first = ""

    def count(self, images: Sequence[Given]) -> None:
        """Some more."""
        for image in images:
            if isinstance(image.stored, Refused):
                self._reasons[image.stored.reason] += 1
                self._first = self._first or f"{image.path} ({image.stored.message})"
            else:
                self._num_read += 1

    def require_some(self) -> None:
        """Raises InputError: nothing could be read."""
        if self._num_read:
            return
        if self._first:
            number = self._reasons.total()
            raise InputError(f"--input: none of the {number:,} images could be read, such as {self._first}")
        raise InputError(
            f"--input: none of the {len(self._images):,} files is an image; give a folder with DICOM, PNG or JPEG"
        )

    def notes(self) -> list[str]:
        """What is to be said of them."""
        lines = [f"{self._num_read:,} images were read"]
        if self._reasons:
            listed = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self._reasons.items()))
            lines.append(f"{self._reasons.total():,} images could not be read ({listed}); the output says why")
        if self._images.num_left_out:
            lines.append(f"{self._images.num_left_out:,} files that are no images were left out")
        return lines


def warn_of_other_specs(images: GivenImages, spec: ImageSpec, *, what: str) -> None:
    """Says that a dataset is not stored as ``what`` knows images."""
    for folder in images.other_specs(spec):
        stored = f"{spec.size} px, {'square, ' if spec.square else ''}{spec.format}"
        print(
            f"warning: --input {folder}: is not stored as {what} knows images ({stored}), so what comes out differs "
            "from that of the files it was packed from",
            file=sys.stderr,
        )
