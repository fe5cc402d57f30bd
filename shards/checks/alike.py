"""The same picture at another size, quality or gray scale: found among many by fingerprints, confirmed on pixels.

Fingerprints that are near propose pairs: within a split as they lie, between splits also mirrored and inverted, and
files of one name whatever their fingerprints. :mod:`shards.checks.same_picture` decides. All pairs of 100,000 images
take about ten seconds on one core; a pair that is proposed takes two decodings and .1 to 5 ms. What is beyond reach
stands in ``docs/packing.md``.
"""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shards.base.bar import Bar
from shards.base.errors import InputError
from shards.base.words import as_called
from shards.checks.same_picture import detail_of, is_same
from shards.datasets import Rows
from shards.format.schema import FINGERPRINT
from shards.images.fingerprint import IS_ODD, NUM_BYTES, SIDE, as_vectors, fingerprints, thumbnail
from shards.images.gray import as_shown
from shards.index import ShardIndex

# Distances. Of different films one pair in thousands is nearer than the third, none was found nearer than the first.
_CLOSE, _WITHIN, _BETWEEN = 0.10, 0.15, 0.30
_NEAREST = 4  # of those, how many are looked at
_TILE = (512, 4096)  # rows whose products are taken at once
_DETAIL_SIDE = 192  # pixels that a JPEG is decoded to at least

Vectors = npt.NDArray[np.float32]
_T = TypeVar("_T")
_R = TypeVar("_R")


def same_pictures(index: ShardIndex, identical: Sequence[Rows], named: Rows) -> list[Rows]:
    """Groups of two or more positions in the selection that show the same picture.

    Args:
        identical: groups known to be the same, :func:`shards.checks.duplicates.identical_images`; they come back, some
            united with others.
        named: (M, 2) positions of images of one name, :func:`shards.checks.duplicates.same_names`, to be looked at
            whatever their fingerprints.

    Raises:
        InputError: a shard with images to be looked at is missing; an image cannot be decoded.
    """
    vectors = _all_vectors(index)
    has_one: npt.NDArray[np.bool_] = np.any(vectors != 0, axis=1)
    splits, is_asked = index.column("split"), has_one.copy()
    for group in identical:  # one of them in each split stands for all
        _, first = np.unique(splits[group], return_index=True)
        is_asked[np.delete(group, first)] = False
    pairs = _proposed(vectors, is_asked, splits, named[has_one[named[:, 0]] & has_one[named[:, 1]]])
    same = pairs[_confirmed(index, vectors, pairs)]
    known = [np.stack([np.full(len(group) - 1, group[0]), group[1:]], axis=1) for group in identical]
    return _united(np.concatenate([same, *known]), len(index))


def num_repeated(test: ShardIndex, train: ShardIndex) -> int:
    """How many images of ``test`` show a picture that ``train``, a selection of the same datasets, holds too: those
    whose fingerprints in the index are as close as copies are, confirmed on pixels. It takes 2 ns a pair.

    Raises:
        InputError: a shard with such images is missing; an image cannot be decoded.
    """
    both = ShardIndex(test.datasets, np.concatenate([test.rows, train.rows]))
    vectors = _vectors_of(_fingerprints(both))
    tested, learnt = (some[vectors[some].any(axis=1)] for some in np.split(np.arange(len(both)), [len(test)]))
    near = _near(vectors[tested], vectors[learnt], distance=_CLOSE, within=False)
    pairs = np.stack([tested[near[:, 0]], learnt[near[:, 1]]], axis=1)
    return len(np.unique(pairs[_confirmed(both, vectors, pairs), 0]))


def num_not_compared(index: ShardIndex) -> int:
    """Images that lack a fingerprint, and are elsewhere, so that it would take a transfer of them all."""
    return int(((_fingerprints(index) == None) & _is_elsewhere(index)).sum())  # noqa: E711 - of an array


def _all_vectors(index: ShardIndex) -> Vectors:
    """Fingerprints as vectors, (N, 63), zero where there is none. Of datasets packed before there were fingerprints
    they are made from the images, unless those are elsewhere."""
    found = _fingerprints(index)
    missing = np.flatnonzero((found == None) & ~_is_elsewhere(index))  # noqa: E711
    made = _in_threads(lambda at: thumbnail(_read(index, at, SIDE)), missing.tolist(), "reading images")
    for at, one in zip(missing.tolist(), fingerprints(made), strict=True):
        found[at] = one
    return _vectors_of(found)


def _vectors_of(found: npt.NDArray[Any]) -> Vectors:
    has_one = np.flatnonzero(found != None)  # noqa: E711
    vectors = np.zeros((len(found), NUM_BYTES), np.float32)
    vectors[has_one] = as_vectors(found[has_one].tolist())
    return vectors


def _fingerprints(index: ShardIndex) -> npt.NDArray[Any]:
    """What the index holds, (N,): bytes, or None."""
    if FINGERPRINT not in index.datasets.table.column_names:
        return np.full(len(index), None)
    return index.column(FINGERPRINT)


def _is_elsewhere(index: ShardIndex) -> npt.NDArray[np.bool_]:
    return np.array([packed.remote is not None for packed in index.packed])[index.packed_numbers()]


def _proposed(vectors: Vectors, is_asked: npt.NDArray[np.bool_], splits: npt.NDArray[Any], named: Rows) -> Rows:
    """Pairs of positions to be looked at, (M, 2), in order and without repeats."""
    of_split = {split: np.flatnonzero((splits == split) & is_asked) for split in sorted(set(splits))}
    pairs = [named]
    for here in of_split.values():
        near = _near(vectors[here], vectors[here], distance=_WITHIN, within=True)
        pairs.append(here[near])
    for names in combinations(of_split, 2):
        few, many = sorted((of_split[name] for name in names), key=len)
        near = _near(vectors[few], vectors[many], distance=_BETWEEN, within=False)
        pairs.append(np.stack([few[near[:, 0]], many[near[:, 1]]], axis=1))
    every = np.sort(np.concatenate(pairs), axis=1)
    return np.unique(every[every[:, 0] < every[:, 1]], axis=0)


def _near(first: Vectors, second: Vectors, *, distance: float, within: bool) -> Rows:
    """For each row of ``first`` the nearest rows of ``second`` below a distance, as pairs (M, 2) of row numbers.
    ``within``: both are the same rows, and of each only later ones count; otherwise those count too that are near when
    mirrored, inverted or both."""
    least = _least(distance)
    halves = [np.ascontiguousarray(some[:, mask]) for mask in (~IS_ODD, IS_ODD) for some in (first, second)]
    found = []
    for start in range(0, len(first), _TILE[0]):
        rows = slice(start, start + _TILE[0])
        best = np.empty((0, 2), np.int64), np.empty(0, np.float32)
        for begin in range(start if within else 0, len(second), _TILE[1]):
            columns = slice(begin, begin + _TILE[1])
            if within:
                products = first[rows] @ second[columns].T
            else:  # the best of the four signs
                products, odd = halves[0][rows] @ halves[1][columns].T, halves[2][rows] @ halves[3][columns].T
                np.abs(products, out=products)
                products += np.abs(odd, out=odd)
            some = np.flatnonzero(products.max(axis=1) > least)  # a few rows, in a tenth of the time that all take
            left, right = np.nonzero(products[some] > least)
            values = products[some[left], right]
            pairs = np.stack([some[left] + start, right + begin], axis=1)
            if within:
                is_later = pairs[:, 1] > pairs[:, 0]
                pairs, values = pairs[is_later], values[is_later]
            if len(pairs):
                best = _nearest(np.concatenate([best[0], pairs]), np.concatenate([best[1], values]))
        found.append(best[0])
    return np.concatenate(found or [np.empty((0, 2), np.int64)])


def _least(distance: float) -> float:
    """The product of unit vectors that are so far apart."""
    return 1 - distance**2 / 2


def _nearest(pairs: Rows, values: npt.NDArray[np.float32]) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Of each row the few pairs of the largest values."""
    order = np.lexsort((-values, pairs[:, 0]))
    pairs, values = pairs[order], values[order]
    _, starts, counts = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    keep = np.arange(len(pairs)) - np.repeat(starts, counts) < _NEAREST
    return pairs[keep], values[keep]


def _confirmed(index: ShardIndex, vectors: Vectors, pairs: Rows) -> npt.NDArray[np.bool_]:
    """Which of the pairs, (M,), show the same picture. A picture is read once for all pairs that it is the first of."""
    products = vectors[pairs[:, 0]] * vectors[pairs[:, 1]]
    even, odd = products[:, ~IS_ODD].sum(axis=1), products[:, IS_ODD].sum(axis=1)
    best = np.abs(even) + np.abs(odd)
    is_near, is_close = best > _least(_BETWEEN), best > _least(_CLOSE)
    is_mirrored, is_inverted = is_near & (even * odd < 0), is_near & (even < 0)

    def look(numbers: Rows) -> list[bool]:
        first = detail_of(_read(index, int(pairs[numbers[0], 0]), _DETAIL_SIDE))
        found = []
        for number in numbers.tolist():
            second = detail_of(_read(index, int(pairs[number, 1]), _DETAIL_SIDE))
            turned = second[:, ::-1] if is_mirrored[number] else second
            turned = np.ascontiguousarray(-turned if is_inverted[number] else turned)
            is_turned = bool(is_mirrored[number] or is_inverted[number])
            close = bool(is_close[number])
            found.append(is_same(first, turned, is_close=close) or (is_turned and is_same(first, second)))
        return found

    starts = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1))
    groups = np.split(np.arange(len(pairs)), starts[1:]) if len(pairs) else []
    return np.array([one for found in _in_threads(look, groups, "comparing images") for one in found], dtype=bool)


def _united(pairs: Rows, num_images: int) -> list[Rows]:
    """The groups that pairs tie together, in the order of their first position."""
    ties = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(num_images, num_images))
    _, numbers = connected_components(ties, directed=False)
    tied = np.unique(pairs)
    order = np.argsort(numbers[tied], kind="stable")
    starts = np.flatnonzero(np.diff(numbers[tied][order])) + 1
    groups = [np.sort(group) for group in np.split(tied[order], starts)] if len(pairs) else []
    return sorted(groups, key=lambda group: int(group[0]))


def _read(index: ShardIndex, position: int, side: int) -> Image.Image:
    """The picture (mode ``L``), of a JPEG reduced as long as both sides are ``side`` pixels."""
    data = index.read(int(index.rows[position]))
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        image.draft("L", (side, side))
        return as_shown(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        key, folders = index.column("key")[position], " ".join(map(str, index.folders))
        shard = index.place(int(index.rows[position])).tar.name
        raise InputError(
            f"image {key} in {shard}: cannot be decoded ({error}); run: {as_called(f'shards verify {folders}')}"
        ) from None


def _in_threads(function: Callable[[_T], _R], items: Sequence[_T], title: str) -> list[_R]:
    """``map`` in threads, which decoders leave room for, with a bar where it takes long."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(Bar(pool.map(function, items), total=len(items), desc=title, leave=False, delay=2, unit="img"))
