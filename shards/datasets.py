"""What is behind a ``ShardIndex``: packed and derived datasets, their joined table, and memory maps of the shards.

A dataset can be a folder here or, named by an address, elsewhere: then its shards are fetched when they are first read.

A derived dataset is a folder without shards: its ``dataset.json`` lists ``members``, each with a path relative to the
folder and the fingerprint that the member had. A merge holds nothing else; a subset also has an ``index.parquet``
of the chosen rows, whose column ``member`` counts in ``members``.
"""

import mmap
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.base.errors import InputError
from shards.format.blank import Blank, blank_rules
from shards.format.manifest import read_manifest
from shards.remote.address import Address
from shards.remote.cache import Cache, share
from shards.remote.folder import OnBytes, RemoteFolder

Rows = npt.NDArray[np.int64]
MEMBER = "member"
_INDEX = "index.parquet"


@dataclass(frozen=True, kw_only=True)
class Packed:
    """One dataset folder that holds shards; ``folder`` is where a ``remote`` one is cached.

    ``blanks`` has the rule of each label; ``tells_blanks``: it was packed with one, and is not of the time before.
    ``num_without_patient`` of its images are taken for patients of their own, because nothing says whose they are.
    """

    folder: Path
    labels: tuple[str, ...]
    blanks: Mapping[str, Blank]
    tells_blanks: bool
    num_images: int
    num_without_patient: int
    extension: str
    fingerprint: str
    remote: RemoteFolder | None = None


class Datasets:
    """Dataset folders opened as one: ``table`` of all rows, ``packed`` datasets, ``number`` of each row's in it.

    Threads may share it. A copy in another process maps, and fetches, by itself.
    """

    def __init__(self, folders: Sequence[Path | Address], cache: Cache | None = None) -> None:
        self.folders = list(folders)
        self.cache = cache or Cache.at()
        loaded = [_load(_home(folder, self.cache), self.cache, above=()) for folder in folders]
        self.packed, self.table, self.number = _join(loaded)
        self.folder_number = np.repeat(np.arange(len(loaded)), [len(table) for _, table, _ in loaded])
        self.sizes = np.stack([self._integers("width"), self._integers("height")], axis=1)
        self.offsets, self.lengths = self._integers("offset"), self._integers("length")
        self.checksums = self._integers("crc32")
        self.tars, self.tar_remotes, self.tar_number = self._number_tars()
        self._forget()

    def read(self, row: int) -> memoryview:
        """Encoded bytes of the image at a row number.

        Raises:
            InputError: its shard is missing, or cannot be fetched.
        """
        number = int(self.tar_number[row])
        data = self._maps.get(number)
        if data is None:
            data = self._mapped(number)
        offset = int(self.offsets[row])
        return data[offset : offset + int(self.lengths[row])]

    def hold(self, number: int, *, stop: threading.Event, on_bytes: OnBytes) -> BinaryIO:
        """Has the shard of a remote dataset in the cache and mapped. It is not evicted until the file is closed.

        Raises:
            InputError: it cannot be fetched; the next read of it says so too.
            Stopped: ``stop`` was set.
        """
        while True:
            self._mapped(number, stop=stop, on_bytes=on_bytes)
            try:
                file = self.tars[number].open("rb")
            except FileNotFoundError:  # evicted in between
                self.drop(number)
                continue
            if share(file.fileno()):
                return file
            file.close()
            self.drop(number)

    def drop(self, number: int) -> None:
        """Lets go of the map of a shard. What was read from it stays readable."""
        with self._locks[number]:
            self._maps.pop(number, None)
            self._inodes.pop(number, None)

    def _mapped(
        self, number: int, *, stop: threading.Event | None = None, on_bytes: OnBytes | None = None
    ) -> memoryview:
        tar, remote = self.tars[number], self.tar_remotes[number]
        with self._locks[number]:
            data = self._maps.get(number)
            if data is not None:
                return data
            if number in self._failures:
                raise self._failures.pop(number)
            if remote is None:
                data = self._maps[number] = _map_local(tar)
                return data
            try:
                file = remote.open_file(tar.name, stop=stop, on_bytes=on_bytes)
            except InputError as error:
                if stop is not None:  # nobody waits for a read-ahead: whoever reads the shard next is told
                    self._failures[number] = error
                raise
            with file:
                data = self._maps[number] = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                self._inodes[number] = os.fstat(file.fileno()).st_ino
        self._drop_evicted()
        return data

    def _drop_evicted(self) -> None:
        """Lets go of maps whose files are gone from the cache: only then the disk has their room again."""
        for number, inode in list(self._inodes.items()):
            try:
                is_gone = self.tars[number].stat().st_ino != inode
            except FileNotFoundError:
                is_gone = True
            if is_gone and self._inodes.get(number) == inode:
                self.drop(number)

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

    def _forget(self) -> None:
        """No map, no lock: as new, or as it arrives in another process."""
        self._maps: dict[int, memoryview] = {}
        self._inodes: dict[int, int] = {}
        self._failures: dict[int, InputError] = {}
        self._locks = [threading.Lock() for _ in self.tars]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for name in ("_maps", "_inodes", "_failures", "_locks"):  # they cannot be pickled; a worker makes its own
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


def _map_local(tar: Path) -> memoryview:
    if not tar.is_file():
        raise InputError(f"shard {tar}: missing; copy the whole dataset folder, or pack it again")
    with tar.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def member_entry(derived: Path, packed: Path, fingerprint: str) -> dict[str, str]:
    """How the ``dataset.json`` of a derived dataset names a member: by a relative path, so that both can be moved
    together."""
    return {"path": os.path.relpath(packed.resolve(), derived.resolve()), "fingerprint": fingerprint}


def member_folder(derived: Path, member: Mapping[str, str]) -> Path:
    """Where a member of a derived dataset lies."""
    return Path(os.path.normpath(derived.resolve() / member["path"]))


def read_index(folder: Path) -> pa.Table:
    """The folder's ``index.parquet``.

    Raises:
        InputError: it is missing or cannot be read.
    """
    path = folder / _INDEX
    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; copy the whole dataset folder, or pack it again") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); run: python -m shards verify {folder}") from None


_Loaded = tuple[list[Packed], pa.Table, Rows]


@dataclass(frozen=True, kw_only=True)
class _Home:
    """A dataset folder, here or elsewhere, and what its ``dataset.json`` says."""

    where: Path | Address
    folder: Path
    remote: RemoteFolder | None
    about: Mapping[str, Any]


def _home(where: Path | Address, cache: Cache) -> _Home:
    remote = RemoteFolder.open(where, cache) if isinstance(where, Address) else None
    folder = remote.folder if remote is not None else Path(str(where))
    return _Home(where=where, folder=folder, remote=remote, about=read_manifest(folder))


def _load(home: _Home, cache: Cache, *, above: tuple[str, ...]) -> _Loaded:
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
            num_without_patient=about.get("totals", {}).get("images_without_patient", 0),
            extension="jpg" if about["image"]["format"] == "jpeg" else "png",
            fingerprint=about["fingerprint"],
            remote=home.remote,
        )
        return [packed], table, np.zeros(len(table), dtype=np.int64)
    name = str(where.resolve()) if isinstance(where, Path) else str(where)
    if name in above:
        raise InputError(f"dataset {where}: is a member of itself; merge its members anew")
    loaded = [_load_member(where, member, cache, above=(*above, name)) for member in about["members"]]
    if not (home.folder / _INDEX).is_file() if home.remote is None else _INDEX not in home.remote:
        return _join(loaded)
    table = _read_index(home)
    packed_members = [packed for members, _, _ in loaded for packed in members]
    return packed_members, table.drop_columns([MEMBER]), table[MEMBER].to_numpy().astype(np.int64)


def _load_member(of: Path | Address, member: Mapping[str, str], cache: Cache, *, above: tuple[str, ...]) -> _Loaded:
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


def _read_index(home: _Home) -> pa.Table:
    if home.remote is not None:
        home.remote.open_file(_INDEX).close()
    return read_index(home.folder)


def _join(loaded: Sequence[_Loaded]) -> _Loaded:
    packed = [one for members, _, _ in loaded for one in members]
    table = pa.concat_tables([table for _, table, _ in loaded], promote_options="default").combine_chunks()
    first = np.cumsum([0, *(len(members) for members, _, _ in loaded)])
    number = np.concatenate([numbers + first[i] for i, (_, _, numbers) in enumerate(loaded)])
    return packed, table, number
