"""What the blank labels of a selection mean, in a sentence for wherever labels are counted."""

from collections.abc import Sequence

import numpy as np

from shards.format.blank import UNKNOWN
from shards.index import ShardIndex

NO_BLANK = "No label is blank."


def blanks_in_words(index: ShardIndex, labels: Sequence[str]) -> str:
    """Which labels of which datasets count as absent where they are blank, and which are left out."""
    numbers = index.packed_numbers()
    names = {number: index.column("dataset")[numbers == number][0] for number in np.unique(numbers).tolist()}
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


def _add(found: dict[str, list[str]], name: str, label: str) -> None:
    if label not in found.setdefault(name, []):
        found[name].append(label)


def _listed(found: dict[str, list[str]], labels: Sequence[str]) -> str:
    """Datasets, each with its labels unless they are all of them."""
    return ", ".join(name if len(of) == len(labels) else f"{name} ({', '.join(of)})" for name, of in found.items())
