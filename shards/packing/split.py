"""Splits that a build draws, by patient, for sources that come without; and patients that are on both sides of one.

A patient's split follows from the patient's identifier and the seed alone, so it stays as images are added.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shards.base.errors import OptionError
from shards.sources.record import Record

_WHAT = "give the shares of train, valid and test in per cent, such as 70/10/20"


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Shares of the patients, which add up to 1."""

    train: float
    valid: float
    test: float

    @classmethod
    def parse(cls, text: str) -> "Shares":
        """Three numbers in per cent, or shares of 1.

        Raises:
            InputError: other numbers, or others than three.
        """
        try:
            train, valid, test = (float(part) for part in text.replace(":", "/").split("/"))
        except ValueError:
            raise OptionError(f"--split {text}: {_WHAT}") from None
        total = train + valid + test
        if min(train, valid, test) < 0 or not (abs(total - 100) < 1e-6 or abs(total - 1) < 1e-6) or train == 0:
            raise OptionError(f"--split {text}: must add up to 100, with some for train; {_WHAT}")
        return cls(train=train / total, valid=valid / total, test=test / total)

    def of(self, patient: str, *, seed: int) -> str:
        """The split of a patient."""
        digest = hashlib.sha256(f"{seed}\x1f{patient}".encode(errors="surrogateescape")).digest()
        place = int.from_bytes(digest[:8]) / 2**64
        return "test" if place < self.test else "valid" if place < self.test + self.valid else "train"


def draw_splits(records: Sequence[Record], shares: Shares, *, seed: int) -> list[Record]:
    """The records, each in the split of its patient.

    Raises:
        InputError: they have splits already.
    """
    splits = sorted({record.split for record in records})
    if splits != ["train"]:
        raise OptionError(f"--split: the source has splits of its own ({', '.join(splits)}); leave it out")
    return [replace(record, split=shares.of(record.patient_id, seed=seed)) for record in records]


def shared_patients(records: Sequence[Record]) -> dict[str, list[str]]:
    """The patients with images in several splits, and these."""
    splits: dict[str, str | set[str]] = {}
    for record in records:
        known = splits.setdefault(record.patient_id, record.split)
        if known != record.split:
            several = {known} if isinstance(known, str) else known
            splits[record.patient_id] = several | {record.split}
    return {patient: sorted(known) for patient, known in splits.items() if not isinstance(known, str)}
