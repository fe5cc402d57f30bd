"""``ShardIndex``: a selection of rows of one or several datasets. The index is the truth: splits, views, fractions and
label policies are selections of rows, never copies of images.

``N`` rows. Row numbers count over the datasets opened, in the order given, and stay the same under selection.
"""

import json
import mmap
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.errors import InputError
from shards.randomness import generator
from shards.schema import FORMAT_VERSION
from shards.tar import TarEntry, dali_index

LabelPolicy = Literal["ignore", "ones", "zeros"]
Rows = npt.NDArray[np.int64]


class ShardIndex:
    """Rows of packed datasets: selects, yields labels, reads encoded bytes.

    Open with :meth:`open`; every selection is a new ``ShardIndex`` that shares the datasets.
    """

    def __init__(self, datasets: "_Datasets", rows: Rows) -> None:
        self._datasets = datasets
        self.rows = rows

    @classmethod
    def open(cls, folder: str | Path, *more_folders: str | Path) -> Self:
        """Opens one dataset folder, or several as one.

        Raises:
            InputError: a folder is missing, is no dataset or has another format version.
        """
        datasets = _Datasets([Path(path) for path in (folder, *more_folders)])
        return cls(datasets, np.arange(len(datasets.table), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(self._datasets.folders)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprint of each dataset opened: what was packed, and how."""
        return tuple(self._datasets.fingerprints)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels of all datasets opened, without repeats."""
        return tuple(dict.fromkeys(name for names in self._datasets.labels for name in names))

    @property
    def table(self) -> pa.Table:
        """The selected rows, in the order of ``rows``."""
        return self._datasets.table.take(pa.array(self.rows))

    def where(self, **columns: Any) -> "ShardIndex":
        """Rows whose columns have the given value, or one of the given values, as in
        ``where(split="train", view=("frontal", "lateral"))``.

        Raises:
            InputError: no such column.
        """
        keep = np.ones(len(self), dtype=bool)
        for name, wanted in columns.items():
            values = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Collection) else list(wanted)
            matches = pc.is_in(self._column(name), value_set=pa.array(values, self._datasets.table[name].type))
            keep &= matches.to_numpy(zero_copy_only=False)
        return ShardIndex(self._datasets, self.rows[keep])

    def take(self, positions: npt.ArrayLike) -> "ShardIndex":
        """The rows at these positions (or under this boolean mask) of the selection, in that order."""
        return ShardIndex(self._datasets, self.rows[np.asarray(positions)])

    def require_rows(self, what: str) -> Self:
        """This selection, if it has rows.

        Raises:
            InputError: it has none; ``what`` says in words what was asked for.
        """
        if not len(self):
            splits = sorted(set(self._datasets.table["split"].to_pylist()))
            folders = ", ".join(map(str, self.folders))
            raise InputError(f"{what}: selects no image of {folders}; its splits are {', '.join(splits)}")
        return self

    def fraction(
        self, share: float, *, draw: int = 0, by: Literal["patient", "image"] = "patient", seed: int = 0
    ) -> "ShardIndex":
        """A random ``share`` of the patients (or images), in row order; at least one of them.

        Draws are nested: a smaller share of the same draw and seed is a subset of a larger one.

        Raises:
            InputError: the share is not in (0, 1].
        """
        if not 0.0 < share <= 1.0:
            raise InputError(f"fraction {share}: must be above 0 and at most 1")
        groups = self.patients() if by == "patient" else np.arange(len(self))
        names = np.unique(groups)
        order = generator("fraction", seed, draw).permutation(len(names))
        chosen = names[order[: max(1, round(share * len(names)))]]
        return self.take(np.isin(groups, chosen))

    def patients(self) -> Rows:
        """A number for each row's patient, (N,): equal within a patient; patients of two datasets are never equal."""
        names = pc.binary_join_element_wise(self._column("dataset"), self._column("patient_id"), "\x1f")
        return np.asarray(names.combine_chunks().dictionary_encode().indices, dtype=np.int64)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of the selection, (N,): text as objects (null as None), numbers as float64 (null as NaN)."""
        column = self._column(name)
        if pa.types.is_string(column.type):
            return np.array(column.to_pylist(), dtype=object)
        return np.array(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64)

    def labels(self, name: str, policy: LabelPolicy = "ignore") -> npt.NDArray[np.float32]:
        """A label of the selection, (N,): 1 present, 0 absent, NaN unlabelled.

        A finding that a release lists but does not mention for an image counts as absent (MoCo-CXR, U-Ignore), one
        that the row's dataset has no column for is NaN. Uncertain becomes NaN, 1 or 0 by ``policy``.

        Raises:
            InputError: unknown label or policy.
        """
        if name not in self.label_names:
            folders = ", ".join(map(str, self.folders))
            raise InputError(f"label {name!r}: not in {folders}; known: {', '.join(self.label_names)}")
        uncertain = {"ignore": np.nan, "ones": 1.0, "zeros": 0.0}
        if policy not in uncertain:
            raise InputError(f"label policy {policy!r}: must be one of {', '.join(uncertain)}")
        values = self.column(name)
        listed = np.array([name in labels for labels in self._datasets.labels])[self._datasets.number[self.rows]]
        values[np.isnan(values) & listed] = 0.0
        values[values == -1.0] = uncertain[policy]
        return values.astype(np.float32)

    def sizes(self) -> Rows:
        """Stored (width, height) of each row, (N, 2), in pixels."""
        return self._datasets.sizes[self.rows]

    def read(self, row: int) -> memoryview:
        """Encoded bytes of the image at a row number, from a memory map of its shard."""
        return self._datasets.read(row)

    def write_dali_index(self, folder: str | Path) -> list[tuple[Path, Path]]:
        """Writes a DALI index for the selected rows of each shard they lie in, and returns (tar, index) paths."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        by_tar: dict[Path, list[TarEntry]] = {}
        data = self._datasets
        for row, key in zip(self.rows, self._column("key").to_pylist(), strict=True):
            tar = data.tars[data.tar_number[row]]
            extension = data.extensions[data.number[row]]
            entry = TarEntry(f"{key}.{extension}", int(data.offsets[row]), int(data.lengths[row]))
            by_tar.setdefault(tar, []).append(entry)
        pairs = []
        for number, (tar, entries) in enumerate(by_tar.items()):
            path = target / f"{number:04d}-{tar.stem}.idx"
            path.write_text(dali_index(entries))
            pairs.append((tar, path))
        return pairs

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self._datasets.table.column_names:
            known = ", ".join(self._datasets.table.column_names)
            raise InputError(f"column {name!r}: not in the index; known: {known}")
        return self._datasets.table[name].take(pa.array(self.rows))


class _Datasets:
    """The datasets behind selections: their joined table, and memory maps of the shards, opened at first use."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders
        abouts = [_read_about(folder) for folder in folders]
        tables = [pq.read_table(folder / "index.parquet") for folder in folders]
        self.labels = [tuple(about["labels"]) for about in abouts]
        self.fingerprints = [about["fingerprint"] for about in abouts]
        self.extensions = ["jpg" if about["image"]["format"] == "jpeg" else "png" for about in abouts]
        self.table = pa.concat_tables(tables, promote_options="default").combine_chunks()
        self.number = np.repeat(np.arange(len(folders)), [len(table) for table in tables])
        self.sizes = np.stack([self._integers("width"), self._integers("height")], axis=1)
        self.offsets, self.lengths = self._integers("offset"), self._integers("length")
        self.tars, self.tar_number = self._number_tars(tables)
        self._maps: dict[int, memoryview] = {}

    def _integers(self, name: str) -> Rows:
        return self.table[name].to_numpy().astype(np.int64)

    def _number_tars(self, tables: Iterable[pa.Table]) -> tuple[list[Path], Rows]:
        tars: dict[Path, int] = {}
        numbers = [
            tars.setdefault(folder / name, len(tars))
            for folder, table in zip(self.folders, tables, strict=True)
            for name in table["shard"].to_pylist()
        ]
        return list(tars), np.array(numbers, dtype=np.int64)

    def read(self, row: int) -> memoryview:
        number = int(self.tar_number[row])
        data = self._maps.get(number)
        if data is None:
            data = self._maps[number] = self._map(self.tars[number])
        offset = int(self.offsets[row])
        return data[offset : offset + int(self.lengths[row])]

    @staticmethod
    def _map(tar: Path) -> memoryview:
        if not tar.is_file():
            raise InputError(f"shard {tar}: missing; copy the whole dataset folder, or pack it again")
        with tar.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # maps cannot be pickled; a worker opens its own


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not folder.is_dir():
        raise InputError(f"dataset {folder}: no such folder; pack one with: python -m shards build")
    if not path.is_file():
        unfinished = (folder / ".build").is_dir()
        remedy = "its build did not finish, repeat it" if unfinished else "give the folder that `shards build` wrote"
        raise InputError(f"dataset {folder}: no dataset.json there; {remedy}")
    try:
        about: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error}); pack the dataset again") from None
    if about.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"dataset {folder}: format version {about.get('format_version')}, but this version of moco-cxr reads "
            f"{FORMAT_VERSION}; pack it again with: python -m shards build"
        )
    return about
