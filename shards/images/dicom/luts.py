"""Lookup tables of DICOM headers (PS3.3 C.11.1, C.11.2 and C.7.6.3.1.5), in all the shapes that devices write."""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from shards.images.dicom.header import numbers

_WORD = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Lut:
    """``entries`` of the values from ``first`` on; values beyond take the nearest entry. ``num_said`` are the entries
    that the descriptor promises, of which some may be missing."""

    entries: np.ndarray
    first: int
    num_said: int

    def covers(self, high: float) -> bool:
        """Whether no missing entry is needed for values up to ``high``."""
        return len(self.entries) >= self.num_said or high < self.first + len(self.entries)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """The entries of ``values``, as float64."""
        places = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(places, 0, len(self.entries) - 1)].astype(np.float64)


def read_lut(item: Dataset, *, low: float, high: float, prefix: str = "LUT") -> Lut | None:
    """The table of one item, for values from ``low`` to ``high``; None if it cannot be used.

    The descriptor's numbers may be signed or not, and devices write the one where the other belongs: the first value is
    the one of both that puts the table where the image's values are.
    """
    said = numbers(item, f"{prefix}Descriptor")
    if len(said) < 2 or said[1] is None:
        return None
    num_said, first = int(said[0] or 0) % _WORD or _WORD, int(said[1])
    depth = said[2] if len(said) > 2 else None
    may_be_bytes = prefix != "LUT" or depth == 8  # of colours some writers give another depth
    entries = _entries(item, f"{prefix}Data", num_said, may_be_bytes=may_be_bytes)
    if entries is None or not len(entries):
        return None

    def shared(first: int) -> float:
        return min(high, first + num_said - 1) - max(low, first)

    if shared(first) < 0:
        first = max((first, first - _WORD, first + _WORD), key=shared)
    return Lut(entries=entries[:num_said], first=first, num_said=num_said)


def _entries(item: Dataset, keyword: str, num: int, *, may_be_bytes: bool) -> np.ndarray | None:
    element = item.get(keyword)
    if isinstance(element, bytes):
        data = element
        is_big = item.original_encoding[1] is False
        if may_be_bytes and len(data) in (num, num + 1):  # 8 bits an entry, two of them in a word
            pairs = np.frombuffer(data + bytes(len(data) % 2), np.uint8).reshape(-1, 2)
            return (pairs[:, ::-1] if is_big else pairs).ravel()[:num]
        return np.frombuffer(data[: len(data) // 2 * 2], ">u2" if is_big else "<u2")
    found = numbers(item, keyword)
    if not found or any(number is None or not -_WORD < number < _WORD for number in found):
        return None
    words = np.array(found, dtype=np.int64) % _WORD
    if may_be_bytes and len(words) == (num + 1) // 2:
        return np.stack([words & 255, words >> 8], axis=1).ravel()[:num]
    return words
