"""The same images twice: datasets that are copies, links or parts of one another, and files that were packed twice."""

import numpy as np

from shards.base.errors import InputError
from shards.identity import Numbers, image_numbers, place_numbers
from shards.index import ShardIndex


def refuse_repeated(index: ShardIndex, what: str, *, in_copies: bool = True) -> None:
    """Refuses an index that holds a packed image twice, by a link to a dataset or a part of it.

    Args:
        what: asked for it: an option or a command.
        in_copies: also by a copy of a dataset's folder.

    Raises:
        InputError: naming two of the folders.
    """
    if len(index.packed) < 2:
        return
    numbers = place_numbers(index, in_copies=in_copies)
    _, first, place = np.unique(numbers, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[place] != np.arange(len(index)))
    if again.size:
        folders = index.folder_numbers()[[first[place[again[0]]], again[0]]].tolist()
        one, other = (index.folders[number] for number in folders)
        twice = f"{one} and {other}" if folders[0] != folders[1] else f"which {one} is made of"
        raise InputError(
            f"{what}: {again.size:,} images are in two of the datasets, {twice}: one is the other, a copy, a link or a "
            "part of it, and they would count twice; give one of them"
        )


def same_images(index: ShardIndex, other: ShardIndex) -> np.ndarray:
    """Which rows of ``index`` show an image that ``other`` has from another packed dataset, (N,)."""
    if len(index.packed) < 2:
        return np.zeros(len(index), dtype=bool)
    ours, theirs = image_numbers(index), image_numbers(other)
    is_same = np.zeros(len(index), dtype=bool)
    for number in np.unique(index.packed_numbers()).tolist():
        mine = np.flatnonzero(index.packed_numbers() == number)
        is_same[mine] = shared(ours[mine], theirs[other.packed_numbers() != number])
    return is_same


def shared(numbers: Numbers, known: Numbers) -> np.ndarray:
    """Which rows of ``numbers``, (N, 2), share one with any row of ``known``, (M, 2), column by column, (N,)."""
    both = [np.isin(mine, theirs[theirs != 0]) for mine, theirs in zip(numbers.T, known.T, strict=True)]
    return np.logical_or.reduce(both)


def repeated_note(index: ShardIndex) -> str:
    """What is to be said of images that several packed datasets hold, such as one release packed at two sizes; empty
    where there are none."""
    if len(index.packed) < 2:
        return ""
    is_same = same_images(index, index)
    if not is_same.any():
        return ""
    folders = ", ".join(str(index.packed[number].folder) for number in np.unique(index.packed_numbers()[is_same]))
    return (
        f"{is_same.sum():,} of {len(index):,} images are there several times, packed into different datasets: {folders}"
    )
