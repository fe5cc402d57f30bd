"""What is behind a ``ShardIndex``: packed and derived datasets, their joined table, and their open shards.

A dataset can be a folder here or, named by an address, elsewhere: then its shards are fetched when they are first read.

A derived dataset is a folder without shards: its ``dataset.json`` lists ``members``, each with a path relative to the
folder and the fingerprint that the member had. A merge holds nothing else; a subset also has an ``index.parquet``
of the chosen rows, whose column ``member`` counts in ``members``.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shards.base.errors import InputError
from shards.base.stored import check_regular, read_parquet
from shards.base.words import as_called, reason_of
from shards.claims import DEEPEST, MOST_MEMBERS, check_index_file, check_rows, shard_bytes
from shards.format.blank import Blank, blank_rules
from shards.format.boxes import BOX_TYPE, BOXES
from shards.format.manifest import check_listed, read_manifest
from shards.format.schema import BASE_COLUMNS
from shards.open_shards import OpenShards
from shards.remote.address import Address
from shards.remote.cache import Cache
from shards.remote.folder import RemoteFolder

Rows = npt.NDArray[np.int64]
MEMBER = "member"
_INDEX = "index.parquet"
_NAMES = (
    "key",
    "dataset",
    "split",
    "patient_id",
)  # of every row; its numbers and shard are asked for with their values


@dataclass(frozen=True, kw_only=True)
class Packed:
    """One dataset folder that holds shards; ``folder`` is where a ``remote`` one is cached.

    ``blanks`` has the rule of each label; ``tells_blanks``: it was packed with one, and is not of the time before.
    ``shard_bytes`` is what ``dataset.json`` says of its shards, by name, empty in one of an early version.
    ``kept`` are the columns of its release's list that a user asked to keep.
    ``depth`` is the bits of a stored gray level.
    ``image`` has the fields of :class:`shards.images.store.ImageSpec`, by which the images were stored.
    ``source`` and ``is_pseudonymised`` say from what and how it was packed.
    ``num_without_patient`` of its images are taken for patients of their own, because nothing says whose they are.
    """

    folder: Path
    labels: tuple[str, ...]
    blanks: Mapping[str, Blank]
    tells_blanks: bool
    num_images: int
    num_without_patient: int
    depth: Literal[8, 16]
    extension: str
    image: Mapping[str, Any]
    fingerprint: str
    shard_bytes: Mapping[str, int]
    kept: tuple[str, ...] = ()
    source: str = ""
    is_pseudonymised: bool = False
    remote: RemoteFolder | None = None


class Datasets:
    """Dataset folders opened as one: ``table`` of all rows, ``packed`` datasets, ``number`` of each row's in it.

    Threads may share it. A copy in another process opens its shards, and fetches, by itself.
    """

    def __init__(self, folders: Sequence[Path | Address], cache: Cache | None = None) -> None:
        self.folders = list(folders)
        self._cache = cache
        loaded = [_load(_home(folder, cache), cache, above=()) for folder in folders]
        self.packed, self.table, self.number = _join(loaded)
        self.folder_number = np.repeat(np.arange(len(loaded)), [len(table) for _, table, _ in loaded])
        self.sizes = np.stack([self._integers("width"), self._integers("height")], axis=1)
        self.offsets, self.lengths = self._integers("offset"), self._integers("length")
        self.checksums = self._integers("crc32")
        self.tars, remotes, self.tar_number = self._number_tars()
        self.shards = OpenShards(self.tars, remotes)

    @property
    def cache(self) -> Cache:
        """Where shards from elsewhere are kept. A local dataset asks for no such place: there may be none."""
        return self._cache or Cache.at()

    def read(self, row: int) -> memoryview:
        """Encoded bytes of the image at a row number. Raises InputError as :meth:`OpenShards.read` does."""
        return self.shards.read(int(self.tar_number[row]), int(self.offsets[row]), int(self.lengths[row]))

    def require_shards(self, rows: Rows, *, whole: bool) -> None:
        """Refuses local shards that these rows lie in and that are missing, empty or, where ``whole``, cut off.

        Raises:
            InputError: naming the first of them.
        """
        numbers = self.tar_number[rows]
        ends = np.zeros(len(self.tars), dtype=np.int64)
        np.maximum.at(ends, numbers, self.offsets[rows] + self.lengths[rows])
        used = np.unique(numbers)
        self.shards.require(used.tolist(), (ends[used] if whole else np.ones(len(used), np.int64)).tolist())

    def _integers(self, name: str) -> Rows:
        return self.table[name].to_numpy().astype(np.int64)

    def _number_tars(self) -> tuple[list[Path], list[RemoteFolder | None], Rows]:
        """The tars that the rows lie in, whence each can be fetched, and a number of each row in them, (N,)."""
        names = pc.dictionary_encode(self.table["shard"]).combine_chunks()
        codes = self.number * max(1, len(names.dictionary)) + np.asarray(names.indices, dtype=np.int64)
        used, numbers = np.unique(codes, return_inverse=True)
        tars, remotes = [], []
        for code in used.tolist():
            packed = self.packed[code // len(names.dictionary)]
            tars.append(packed.folder / names.dictionary[code % len(names.dictionary)].as_py())
            remotes.append(packed.remote)
        return tars, remotes, numbers.astype(np.int64)


def member_entry(derived: Path, packed: Path, fingerprint: str) -> dict[str, str]:
    """How the ``dataset.json`` of a derived dataset names a member: by a relative path, so that both can be moved
    together."""
    return {"path": os.path.relpath(packed.resolve(), derived.resolve()), "fingerprint": fingerprint}


def member_folder(derived: Path, member: Mapping[str, str]) -> Path:
    """Where a member of a derived dataset lies."""
    return Path(os.path.normpath(derived.resolve() / member["path"]))


def read_index(folder: Path, about: Mapping[str, Any], *columns: str) -> pa.Table:
    """The folder's ``index.parquet``.

    Args:
        about: what the folder's ``dataset.json`` says.

    Raises:
        InputError: it is missing, cannot be read, was changed, or lacks one of the ``columns`` or of those of every
            index, or has others in their place.
    """
    path = folder / _INDEX
    try:
        check_regular(path)
        check_index_file(path)
        check_listed(path, about)
        table = read_parquet(path)
        labels = dict.fromkeys(() if MEMBER in columns else about["labels"], pa.int8())
        kinds = dict(zip(table.schema.names, table.schema.types, strict=True))
        for name, kind in {**BASE_COLUMNS, **labels, **dict.fromkeys(columns, pa.int32())}.items():
            if kinds.get(name) != kind:
                raise InputError(f"is no index of images, as its column {name!r} is {kinds.get(name, 'missing')}")
        if pa.types.is_nested(kinds.get(BOXES, pa.null())) and kinds[BOXES] != BOX_TYPE:
            raise InputError(f"is no index of images, as its column {BOXES!r} is {kinds[BOXES]}")
        blank = [name for name in _NAMES if table[name].null_count]
        if blank:
            raise InputError(f"has rows without {blank[0]}")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path}: {_why(error)}; copy it again, or run: {as_called(f'shards verify {folder}')}"
        ) from None
    return table


def _why(error: Exception) -> str:
    """In words that can follow the name of the file."""
    return str(error) if isinstance(error, InputError) else f"cannot be read ({reason_of(error)})"


_Loaded = tuple[list[Packed], pa.Table, Rows]


@dataclass(frozen=True, kw_only=True)
class _Home:
    """A dataset folder, here or elsewhere, and what its ``dataset.json`` says."""

    where: Path | Address
    folder: Path
    remote: RemoteFolder | None
    about: Mapping[str, Any]


def _home(where: Path | Address, cache: Cache | None) -> _Home:
    remote = RemoteFolder.open(where, cache or Cache.at()) if isinstance(where, Address) else None
    folder = remote.folder if remote is not None else Path(str(where))
    return _Home(where=where, folder=folder, remote=remote, about=read_manifest(folder))


def _load(home: _Home, cache: Cache | None, *, above: tuple[str, ...]) -> _Loaded:
    """Packed datasets, rows, and the number of each row's packed dataset."""
    about, where = home.about, home.where
    if "members" not in about:
        table = _read_index(home)
        packed = Packed(
            folder=home.folder,
            labels=tuple(about["labels"]),
            blanks=blank_rules(about),
            tells_blanks="blanks" in about,
            num_images=len(table),
            num_without_patient=_num_without_patient(about, len(table)),
            depth=about["image"].get("depth", 8),
            extension="jpg" if about["image"]["format"] == "jpeg" else "png",
            image=about["image"],
            fingerprint=about["fingerprint"],
            kept=tuple(name for name in map(str, about.get("kept_columns", ())) if name in table.column_names),
            source=str(about.get("source", "")),
            is_pseudonymised=bool(about.get("pseudonymised")),
            shard_bytes=shard_bytes(about),
            remote=home.remote,
        )
        number = np.zeros(len(table), dtype=np.int64)
        check_rows(where, table, number, [packed.shard_bytes])
        return [packed], table, number
    name = str(where.resolve()) if isinstance(where, Path) else str(where)
    if name in above:
        raise InputError(f"dataset {where}: is a member of itself; merge its members anew")
    if len(above) >= DEEPEST:
        raise InputError(f"dataset {where}: is derived {DEEPEST} times over; merge its members anew")
    members = about["members"]
    loaded: list[_Loaded] = []
    for member in members:
        loaded.append(_load_member(where, member, cache, above=(*above, name)))
        if sum(len(packed) for packed, _, _ in loaded) > MOST_MEMBERS:  # a server could go on for ever
            raise InputError(f"dataset {where}: is derived from more than {MOST_MEMBERS:,} datasets; merge fewer")
    if not loaded:
        raise InputError(f"dataset {where}: is derived from none; write it again")
    if not (home.folder / _INDEX).is_file() if home.remote is None else _INDEX not in home.remote:
        return _join(loaded)
    table = _read_index(home, MEMBER)
    packed_members = [packed for members, _, _ in loaded for packed in members]
    numbers = table[MEMBER].fill_null(-1).to_numpy().astype(np.int64)
    check_rows(where, table, numbers, [packed.shard_bytes for packed in packed_members])
    return packed_members, table.drop_columns([MEMBER]), numbers


def _num_without_patient(about: Mapping[str, Any], num_images: int) -> int:
    """What the dataset says; datasets of earlier builds do not, but folders of images never told of patients."""
    former = num_images if about.get("source") == "folder" else 0
    return int(about.get("totals", {}).get("images_without_patient", former))


def _load_member(
    of: Path | Address, member: Mapping[str, str], cache: Cache | None, *, above: tuple[str, ...]
) -> _Loaded:
    where = of.joined(member["path"]) if isinstance(of, Address) else member_folder(of, member)
    try:
        home = _home(where, cache)
    except InputError as error:
        raise InputError(
            f"dataset {of}: is derived from others, and one cannot be opened: {error}; it holds no images, so "
            "keep its members where they were, or write it again"
        ) from None
    if home.about.get("fingerprint") != member["fingerprint"]:
        raise InputError(f"dataset {of}: its member {where} was packed anew since; write it again")
    return _load(home, cache, above=above)


def _read_index(home: _Home, *columns: str) -> pa.Table:
    if home.remote is not None:
        home.remote.open_file(_INDEX).close()
    return read_index(home.folder, home.about, *columns)


def _join(loaded: Sequence[_Loaded]) -> _Loaded:
    packed = [one for members, _, _ in loaded for one in members]
    table = pa.concat_tables([table for _, table, _ in loaded], promote_options="default").combine_chunks()
    first = np.cumsum([0, *(len(members) for members, _, _ in loaded)])
    number = np.concatenate([numbers + first[i] for i, (_, _, numbers) in enumerate(loaded)])
    return packed, table, number
