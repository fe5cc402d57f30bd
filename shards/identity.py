"""Which image a row is, and whose, whatever it was packed as: the same numbers at another size, in a subset, a merge or
a copy, and under pseudonyms of the same key. ``N`` rows; 0 stands for what is not known.

An image is known by the bytes of its file. In releases whose own names for images are known everywhere it is also known
by its name, so that CheXpert-small and CheXpert are the same images. Elsewhere its name counts only where an earlier
build kept no hash of its file, and within datasets of one name.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.format.schema import SOURCE_HASH
from shards.index import ShardIndex

Numbers = npt.NDArray[np.uint64]
_NAMED = frozenset({"chexpert", "mimic", "montgomery", "nih", "shenzhen"})


def place_numbers(index: ShardIndex, *, in_copies: bool = True) -> Numbers:
    """Where each row's image lies, (N,): equal in links to a dataset folder and in subsets of it, and, unless not asked
    for ``in_copies``, in copies of it."""
    folders = ["" if in_copies or packed.remote else str(packed.folder.resolve()) for packed in index.packed]
    packed = _by_row(index, [f"{one.fingerprint} {of}" for one, of in zip(index.packed, folders, strict=True)])
    return _hashed(zip(packed, *_columns(index, "shard", "offset", "crc32"), strict=True))


def image_numbers(index: ShardIndex) -> Numbers:
    """Each row's image, (N, 2): by the bytes of its file, and by its name. Rows of one image share one of them."""
    found = np.zeros((len(index), 2), dtype=np.uint64)
    table = index.table
    if SOURCE_HASH in table.column_names and table[SOURCE_HASH].type == pa.uint64():
        found[:, 0] = table[SOURCE_HASH].fill_null(pa.scalar(0, pa.uint64())).to_numpy()
    releases = _by_row(index, [_release(packed.source) for packed in index.packed])
    rows = zip(releases, *_columns(index, "dataset", "key", "source_width", "source_height"), strict=True)
    found[:, 1] = _hashed(
        ("of", release, key) if release else ("in", name, key, *size) for release, name, key, *size in rows
    )
    is_of_release = np.array([bool(_release(packed.source)) for packed in index.packed], dtype=bool)
    found[(found[:, 0] != 0) & ~is_of_release[index.packed_numbers()], 1] = 0  # two folders can have like names
    return found


def patient_numbers(index: ShardIndex) -> Numbers:
    """Each row's patient, (N,): of the release where its numbers are known everywhere, else of the pseudonyms' key,
    else of the dataset's name; 0 in datasets that know no patients."""
    spaces = [
        ("of", release) if (release := _release(packed.source)) else ("key",) if packed.is_pseudonymised else ()
        for packed in index.packed
    ]
    rows = zip(_by_row(index, spaces), *_columns(index, "dataset", "patient_id"), strict=True)
    found = _hashed((*(space or ("in", name)), patient) for space, name, patient in rows)
    knows_none = np.array([packed.num_without_patient == packed.num_images for packed in index.packed], dtype=bool)
    found[knows_none[index.packed_numbers()]] = 0
    return found


def _release(source: str) -> str:
    return source if source in _NAMED else ""


def _by_row(index: ShardIndex, values: Sequence[Any]) -> list[Any]:
    return [values[number] for number in index.packed_numbers().tolist()]


def _columns(index: ShardIndex, *names: str) -> list[list[Any]]:
    table = index.table.select(names)
    return [table[name].to_pylist() for name in names]


def _hashed(rows: Iterable[Iterable[object]]) -> Numbers:
    digests = (hashlib.blake2b("\x1f".join(map(str, row)).encode(), digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
