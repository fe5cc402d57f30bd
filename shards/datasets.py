"""What is behind a ``ShardIndex``: packed datasets, views of them, their joined table, and memory maps of the shards.

A view is a dataset folder without shards: its ``dataset.json`` lists ``members``, each with a path relative to the
folder and the fingerprint that the member had. A merged view holds nothing else; a subset also has an ``index.parquet``
of the chosen rows, whose column ``member`` counts in ``members``.
"""

import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.errors import InputError
from shards.manifest import read_manifest

Rows = npt.NDArray[np.int64]
MEMBER = "member"


@dataclass(frozen=True, kw_only=True)
class Packed:
    """One dataset folder that holds shards."""

    folder: Path
    labels: tuple[str, ...]
    extension: str
    fingerprint: str


class Datasets:
    """Dataset folders opened as one: ``table`` of all rows, ``packed`` datasets, ``number`` of each row's in it."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(folders)
        self.packed, self.table, self.number = _join([_load(folder, above=()) for folder in folders])
        self.sizes = np.stack([self._integers("width"), self._integers("height")], axis=1)
        self.offsets, self.lengths = self._integers("offset"), self._integers("length")
        self.tars, self.tar_number = self._number_tars()
        self._maps: dict[int, memoryview] = {}

    def read(self, row: int) -> memoryview:
        """Encoded bytes of the image at a row number."""
        number = int(self.tar_number[row])
        data = self._maps.get(number)
        if data is None:
            data = self._maps[number] = self._map(self.tars[number])
        offset = int(self.offsets[row])
        return data[offset : offset + int(self.lengths[row])]

    def _integers(self, name: str) -> Rows:
        return self.table[name].to_numpy().astype(np.int64)

    def _number_tars(self) -> tuple[list[Path], Rows]:
        """The tars that the rows lie in, and a number of each row in them, (N,)."""
        names = pc.dictionary_encode(self.table["shard"]).combine_chunks()
        codes = self.number * max(1, len(names.dictionary)) + np.asarray(names.indices, dtype=np.int64)
        used, numbers = np.unique(codes, return_inverse=True)
        tars = [
            self.packed[code // len(names.dictionary)].folder / names.dictionary[code % len(names.dictionary)].as_py()
            for code in used.tolist()
        ]
        return tars, numbers.astype(np.int64)

    @staticmethod
    def _map(tar: Path) -> memoryview:
        if not tar.is_file():
            raise InputError(f"shard {tar}: missing; copy the whole dataset folder, or pack it again")
        with tar.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # maps cannot be pickled; a worker opens its own


def member_entry(view: Path, packed: Path, fingerprint: str) -> dict[str, str]:
    """How the ``dataset.json`` of a view names a member: by a relative path, so that both can be moved together."""
    return {"path": os.path.relpath(packed.resolve(), view.resolve()), "fingerprint": fingerprint}


def member_folder(view: Path, member: Mapping[str, str]) -> Path:
    """Where a member of a view lies."""
    return Path(os.path.normpath(view.resolve() / member["path"]))


def read_index(folder: Path) -> pa.Table:
    """The folder's ``index.parquet``.

    Raises:
        InputError: it is missing or cannot be read.
    """
    path = folder / "index.parquet"
    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; copy the whole dataset folder, or pack it again") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run: python -m shards verify {folder}") from None


_Loaded = tuple[list[Packed], pa.Table, Rows]


def _load(folder: Path, *, above: tuple[Path, ...]) -> _Loaded:
    """Packed datasets, rows, and the number of each row's packed dataset."""
    about = read_manifest(folder)
    if "members" not in about:
        table = read_index(folder)
        extension = "jpg" if about["image"]["format"] == "jpeg" else "png"
        packed = Packed(
            folder=folder, labels=tuple(about["labels"]), extension=extension, fingerprint=about["fingerprint"]
        )
        return [packed], table, np.zeros(len(table), dtype=np.int64)
    if folder.resolve() in above:
        raise InputError(f"dataset {folder}: is a member of itself; merge its members anew")
    loaded = [_load_member(folder, member, above=(*above, folder.resolve())) for member in about["members"]]
    if not (folder / "index.parquet").is_file():
        return _join(loaded)
    table = read_index(folder)
    packed_members = [packed for members, _, _ in loaded for packed in members]
    return packed_members, table.drop_columns([MEMBER]), table[MEMBER].to_numpy().astype(np.int64)


def _load_member(view: Path, member: Mapping[str, str], *, above: tuple[Path, ...]) -> _Loaded:
    folder = member_folder(view, member)
    try:
        found = read_manifest(folder).get("fingerprint")
    except InputError as error:
        raise InputError(
            f"dataset {view}: is a view of others, and one cannot be opened: {error}; views hold no images, so keep "
            "their members where they were, or write the view again"
        ) from None
    if found != member["fingerprint"]:
        raise InputError(f"dataset {view}: its member {folder} was packed anew since; write the view again")
    return _load(folder, above=above)


def _join(loaded: Sequence[_Loaded]) -> _Loaded:
    packed = [one for members, _, _ in loaded for one in members]
    table = pa.concat_tables([table for _, table, _ in loaded], promote_options="default").combine_chunks()
    first = np.cumsum([0, *(len(members) for members, _, _ in loaded)])
    number = np.concatenate([numbers + first[i] for i, (_, _, numbers) in enumerate(loaded)])
    return packed, table, number
