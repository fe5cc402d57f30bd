"""What is assumed of a selection where its sources say nothing (blank labels, patients, views), in sentences for
wherever that matters."""

import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np

from shards.base.errors import InputError
from shards.format.blank import UNKNOWN
from shards.index import ShardIndex

NO_BLANK = "No label is blank."
Known = Literal["all", "some", "none"]


def blanks_in_words(index: ShardIndex, labels: Sequence[str]) -> str:
    """Which labels of which datasets count as absent where they are blank, and which are left out."""
    numbers = index.packed_numbers()
    names = {number: _name(index, number) for number in np.unique(numbers).tolist()}
    found: dict[str, dict[str, list[str]]] = {"absent": {}, "unknown": {}}
    for label in labels:
        values = index.column(label)
        for number, name in names.items():
            of_dataset = values[numbers == number]
            if np.isnan(of_dataset).any():
                rule = index.packed[number].blanks.get(label, "unknown")
                _add(found[rule], name, label)
            if (of_dataset == UNKNOWN).any():
                _add(found["unknown"], name, label)
    sentences = []
    if found["absent"]:
        sentences.append(f"Blank labels count as absent in {_listed(found['absent'], labels)}.")
    if found["unknown"]:
        where = _listed(found["unknown"], labels)
        sentences.append(f"Blank labels are unknown in {where}, and left out of training, test and every count.")
    return " ".join(sentences) or NO_BLANK


def patients_in_words(index: ShardIndex) -> str:
    """Of which datasets patients are unknown; empty where all are known."""
    names = []
    for number in np.unique(index.packed_numbers()).tolist():
        packed = index.packed[number]
        if packed.num_without_patient:
            share = f" ({packed.num_without_patient:,} of its {packed.num_images:,} images)"
            is_whole = packed.num_without_patient == packed.num_images
            names.append(_name(index, number) + ("" if is_whole else share))
    return f"Patients are unknown in {', '.join(names)}: each image counts as a patient of its own." if names else ""


def known_patients(index: ShardIndex) -> Known:
    """Of how many images the patient is known."""
    packed = [index.packed[number] for number in np.unique(index.packed_numbers()).tolist()]
    if not any(one.num_without_patient for one in packed):
        return "all"
    return "none" if all(one.num_without_patient == one.num_images for one in packed) else "some"


def of_view(index: ShardIndex, view: str, *, what: str) -> ShardIndex:
    """The images of a view, or all of them where it is ``all``. Tells on stderr how many leave because nothing is known
    of their view.

    Args:
        what: was asked for, in the words of messages.

    Raises:
        InputError: no image says its view, or none has this one.
    """
    if view == "all":
        return index
    known = index.column("view")
    num_silent = int((known == None).sum())  # noqa: E711 - of an array
    if len(index) and num_silent == len(index):
        raise InputError(
            f"{what}: selects no image, because none of the {len(index):,} says its view; take all views, or pack them "
            "again with it (table: --view-column, or DICOM files that say it)"
        )
    if num_silent:
        print(f"note: {what}: {num_silent:,} of {len(index):,} images leave, whose view is not known", file=sys.stderr)
    return index.take(known == view).require_rows(what)


def _name(index: ShardIndex, number: int) -> str:
    return str(index.column("dataset")[index.packed_numbers() == number][0])


def _add(found: dict[str, list[str]], name: str, label: str) -> None:
    if label not in found.setdefault(name, []):
        found[name].append(label)


def _listed(found: dict[str, list[str]], labels: Sequence[str]) -> str:
    """Datasets, each with its labels unless they are all of them."""
    return ", ".join(name if len(of) == len(labels) else f"{name} ({', '.join(of)})" for name, of in found.items())
