"""Identical images, and what lies on both sides of a split: the ways in which a test set leaks into training."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.datasets import Rows
from shards.index import ShardIndex


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What two splits share: number of patients, of groups of identical images and of groups of one picture in several
    forms (:mod:`shards.checks.alike`), with a few examples of each. ``num_images`` of the first split show a picture
    that is in the second, and the other way round."""

    splits: tuple[str, str]
    num_patients: int
    patients: tuple[str, ...]
    num_identical: int
    identical: tuple[tuple[str, ...], ...]
    num_alike: int
    alike: tuple[tuple[str, str], ...]
    num_images: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class SharedNames:
    """File names that two splits have, ``num_same`` of them of the same picture as far as can be seen."""

    splits: tuple[str, str]
    num_names: int
    num_same: int


def identical_images(index: ShardIndex) -> list[Rows]:
    """Groups of two or more positions in the selection whose encoded bytes are equal, by SHA-256.

    Only the bytes of images that share length and CRC-32 with another are read.

    Raises:
        InputError: a shard with such images is missing.
    """
    table = index.table
    keys = table["length"].to_numpy().astype(np.int64) << 32 | table["crc32"].to_numpy().astype(np.int64)
    _, numbers, counts = np.unique(keys, return_inverse=True, return_counts=True)
    groups: dict[bytes, list[int]] = {}
    for position in np.flatnonzero(counts[numbers] > 1).tolist():
        digest = hashlib.sha256(index.read(int(index.rows[position]))).digest()
        groups.setdefault(digest, []).append(position)
    return [np.array(positions, dtype=np.int64) for positions in groups.values() if len(positions) > 1]


def same_names(index: ShardIndex) -> Rows:
    """Positions of images of two splits whose files bear one name, (M, 2). Suffixes and folders do not count, nor do
    names that a split has more than once, such as CheXpert's ``view1_frontal``."""
    splits: dict[str, dict[str, int]] = {}
    for position, (split, path) in enumerate(zip(index.column("split"), index.column("source_path"), strict=True)):
        name = path.replace("\\", "/").rpartition("/")[2].casefold()
        names = splits.setdefault(split, {})
        stem = name.rpartition(".")[0] or name
        names[stem] = -1 if stem in names else position
    pairs = [
        (one[name], other[name])
        for one, other in combinations(splits.values(), 2)
        for name in one.keys() & other.keys()
        if one[name] >= 0 and other[name] >= 0
    ]
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def shared_names(index: ShardIndex, same: Sequence[Rows], named: Rows) -> list[SharedNames]:
    """What :func:`same_names` found, by pair of splits, and how much of it is in one group of ``same``
    (:func:`shards.checks.alike.same_pictures`)."""
    split_of = index.column("split")
    group_of = np.arange(len(index)) + len(same)
    for number, group in enumerate(same):
        group_of[group] = number
    is_same = group_of[named[:, 0]] == group_of[named[:, 1]]
    pairs = [tuple(sorted(split_of[two])) for two in named]
    names, shown = Counter(pairs), Counter(pair for pair, one in zip(pairs, is_same, strict=True) if one)
    return [SharedNames(splits=pair, num_names=names[pair], num_same=shown[pair]) for pair in sorted(names)]


def split_overlaps(
    index: ShardIndex, identical: Sequence[Rows], same: Sequence[Rows], *, examples: int = 3
) -> list[Overlap]:
    """For each pair of splits that share something: what.

    Args:
        identical: :func:`identical_images` of ``index``.
        same: :func:`shards.checks.alike.same_pictures` of it.
    """
    table = index.table
    names = pc.binary_join_element_wise(table["dataset"], table["patient_id"], " ")
    pairs = pa.table({"split": table["split"], "patient": names}).group_by(["split", "patient"]).aggregate([])
    patients: dict[str, set[str]] = {split: set() for split in sorted(set(pairs["split"].to_pylist()))}
    for split, patient in zip(pairs["split"].to_pylist(), pairs["patient"].to_pylist(), strict=True):
        patients[split].add(patient)
    split_of, source_of = index.column("split"), index.column("source_path")
    alike = in_several_forms(same, identical)
    overlaps = []
    for pair in combinations(patients, 2):

        def across(groups: Sequence[Rows], pair: tuple[str, str] = pair) -> list[Rows]:
            return [group for group in groups if set(split_of[group]) >= set(pair)]

        shared = sorted(patients[pair[0]] & patients[pair[1]])
        copies, forms, every = across(identical), across(alike), across(same)
        if not (shared or every):
            continue
        of_every = split_of[np.concatenate(every)] if every else np.empty(0, object)
        overlap = Overlap(
            splits=pair,
            num_patients=len(shared),
            patients=tuple(shared[:examples]),
            num_identical=len(copies),
            identical=tuple(tuple(source_of[group]) for group in copies[:examples]),
            num_alike=len(forms),
            alike=tuple(
                (source_of[group[split_of[group] == pair[0]][0]], source_of[group[split_of[group] == pair[1]][0]])
                for group in forms[:examples]
            ),
            num_images=(int((of_every == pair[0]).sum()), int((of_every == pair[1]).sum())),
        )
        overlaps.append(overlap)
    return overlaps


def in_several_forms(same: Sequence[Rows], identical: Sequence[Rows]) -> list[Rows]:
    """The groups of one picture that do not consist of identical images alone."""
    known = {tuple(group) for group in identical}
    return [group for group in same if tuple(group) not in known]
