"""Identical images, and what lies on both sides of a split: the two ways in which a test set leaks into training."""

import hashlib
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
    """What two splits share: number of patients and of groups of identical images, with a few examples of each."""

    splits: tuple[str, str]
    num_patients: int
    patients: tuple[str, ...]
    num_identical: int
    identical: tuple[tuple[str, ...], ...]


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


def split_overlaps(index: ShardIndex, groups: Sequence[Rows], *, examples: int = 3) -> list[Overlap]:
    """For each pair of splits that share something: what. ``groups``: :func:`identical_images` of ``index``."""
    table = index.table
    names = pc.binary_join_element_wise(table["dataset"], table["patient_id"], " ")
    pairs = pa.table({"split": table["split"], "patient": names}).group_by(["split", "patient"]).aggregate([])
    patients: dict[str, set[str]] = {split: set() for split in sorted(set(pairs["split"].to_pylist()))}
    for split, patient in zip(pairs["split"].to_pylist(), pairs["patient"].to_pylist(), strict=True):
        patients[split].add(patient)
    split_of, source_of = index.column("split"), index.column("source_path")
    overlaps = []
    for pair in combinations(patients, 2):
        shared = sorted(patients[pair[0]] & patients[pair[1]])
        across = [group for group in groups if set(split_of[group]) >= set(pair)]
        if shared or across:
            overlap = Overlap(
                splits=pair,
                num_patients=len(shared),
                patients=tuple(shared[:examples]),
                num_identical=len(across),
                identical=tuple(tuple(source_of[group]) for group in across[:examples]),
            )
            overlaps.append(overlap)
    return overlaps
