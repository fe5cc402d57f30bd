"""Whether pretraining saw what an encoder is tested on. It never learns from labels, but an encoder that has seen the
test images is no measure of how it does on new patients; and a hospital that is left out must have been left out there.

Beside an encoder lies ``seen.safetensors``: the numbers (:mod:`shards.identity`) of the images and patients that it was
pretrained on, by which they are known again however they are packed. 8 bytes each: 2.9 MB for 300,000 images of 65,000
patients, 5.3 MB where the release's own names are numbers too. Of encoders without it, the splits of each dataset are
known, by fingerprint.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from shards.base.atomic import atomic_write
from shards.base.errors import InputError
from shards.base.stored import read_file
from shards.identity import Numbers, image_numbers, patient_numbers
from shards.index import ShardIndex
from shards.repeated import shared
from train.checkpoints.place import run_of

FILE = "seen.safetensors"
Splits = Mapping[str, Sequence[str]]


def _none() -> Numbers:
    return np.empty(0, dtype=np.uint64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Sorted numbers of images and patients. ``splits`` are those, by fingerprint of their dataset, that any image was
    taken of; ``trained_on`` the ones among them of which no numbers are known."""

    images: Numbers = field(default_factory=_none)
    patients: Numbers = field(default_factory=_none)
    trained_on: Splits = field(default_factory=dict)
    splits: Splits = field(default_factory=dict)

    @property
    def has_numbers(self) -> bool:
        """Whether it is known image by image, and not only by split."""
        return bool(self.images.size)


def trained_on(index: ShardIndex) -> dict[str, list[str]]:
    """The splits of each packed dataset that have rows in the index, by the dataset's fingerprint: what a pretraining
    run writes into its encoder."""
    splits, numbers = index.column("split"), index.packed_numbers()
    return {
        fingerprint: sorted(set(splits[numbers == number].tolist()))
        for number, fingerprint in enumerate(index.fingerprints)
        if (numbers == number).any()
    }


def num_seen(seen: Splits, test: ShardIndex) -> int:
    """How many test images are of a dataset and split that pretraining took images of.

    Args:
        seen: what :func:`trained_on` gave when the encoder was trained.
    """
    return int(_of_splits(seen, test).sum())


def seen_in(index: ShardIndex) -> Seen:
    """The numbers of the images and patients of the selected rows, and their splits."""
    return Seen(
        images=_distinct(image_numbers(index)), patients=_distinct(patient_numbers(index)), splits=trained_on(index)
    )


def united(one: Seen, other: Seen) -> Seen:
    """What either saw, such as a run and the one whose weights it started from."""
    return Seen(
        images=np.union1d(one.images, other.images),
        patients=np.union1d(one.patients, other.patients),
        trained_on=united_splits(one.trained_on, other.trained_on),
        splits=united_splits(one.splits, other.splits),
    )


def united_splits(one: Splits, other: Splits) -> dict[str, list[str]]:
    """The splits of each dataset that either names."""
    return {name: sorted({*one.get(name, ()), *other.get(name, ())}) for name in sorted({*one, *other})}


def save_seen(folder: Path, seen: Seen) -> dict[str, Any]:
    """Writes the file into the folder of an encoder, if it is not there yet; returns what the header of its encoders
    says of it, ``trained_on`` and ``seen``, for :func:`train.encoders.saved.save_encoder`."""
    content = safetensors.numpy.save({"images": seen.images, "patients": seen.patients})
    if not (folder / FILE).is_file() or read_file(folder / FILE) != content:
        atomic_write(folder / FILE, content)
    about = {"sha256": hashlib.sha256(content).hexdigest(), "trained_on": dict(seen.trained_on)}
    return {"trained_on": dict(seen.splits), "seen": about}


def load_seen(encoder: Path, metadata: Mapping[str, Any]) -> Seen:
    """What lies beside an encoder's file, or in the run folder of a checkpoint, of which ``metadata`` is the header.
    Without it, or with that of another encoder, what the header itself says; that is told on stderr."""
    by_split = metadata.get("trained_on", {})
    about = metadata.get("seen")
    if about is None:  # of an earlier version
        return Seen(trained_on=by_split, splits=by_split)
    path = run_of(encoder) / FILE
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != about["sha256"]:
        why = "is that of another encoder" if content else "is missing"
        print(
            f"note: {path} {why}: whether {encoder.name} saw the test images is known for the datasets of its "
            "pretraining alone, and not for those packed anew; copy it from the run folder",
            file=sys.stderr,
        )
        return Seen(trained_on=by_split, splits=by_split)
    try:
        tensors = safetensors.numpy.load(content)
    except SafetensorError as error:
        raise InputError(f"{path}: is no safetensors file ({error}); copy it from the run folder") from None
    return Seen(images=tensors["images"], patients=tensors["patients"], trained_on=about["trained_on"], splits=by_split)


def seen_rows(seen: Seen, test: ShardIndex) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which test images pretraining saw, (N,), and which are of patients of whom it saw any image, (N,)."""
    known = np.stack([seen.images, seen.images], axis=1)
    is_seen = shared(image_numbers(test), known) | _of_splits(seen.trained_on, test)
    patients = test.patients()
    is_known = np.isin(patient_numbers(test), seen.patients) | is_seen
    return is_seen, np.isin(patients, patients[is_known])


def _of_splits(seen: Splits, test: ShardIndex) -> npt.NDArray[np.bool_]:
    splits, numbers = test.column("split"), test.packed_numbers()
    is_seen = np.zeros(len(test), dtype=bool)
    for number, fingerprint in enumerate(test.fingerprints):
        is_seen |= (numbers == number) & np.isin(splits, list(seen.get(fingerprint, ())))
    return is_seen


def _distinct(numbers: Numbers) -> Numbers:
    found = np.unique(numbers)
    return found[found != 0]
