"""``ShardIndex``: a selection of rows of one or several datasets. The index is the truth: splits, views, fractions and
label policies are selections of rows, never copies of images.

``N`` rows. Row numbers count over the datasets opened, in the order given, and stay the same under selection.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shards.base.atomic import atomic_write
from shards.base.bounds import Count, Seed, Share
from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.base.values.arguments import checked_arguments
from shards.datasets import Datasets, Packed, Rows
from shards.format.blank import UNKNOWN, tell_former_rule
from shards.format.schema import unknown_label, values_of_column
from shards.format.tar import TarEntry, dali_index
from shards.options import LabelPolicy
from shards.remote.address import Address
from shards.remote.cache import Cache


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an encoded image lies: ``length`` bytes at ``offset`` of ``tar``."""

    key: str
    tar: Path
    offset: int
    length: int


class ShardIndex:
    """Rows of packed datasets: selects, yields labels, reads encoded bytes.

    Open with :meth:`open`; every selection is a new ``ShardIndex`` that shares the datasets.
    """

    def __init__(self, datasets: Datasets, rows: Rows) -> None:
        self._datasets = datasets
        self.rows = rows

    @classmethod
    @checked_arguments
    def open(cls, folder: str | Path, *more_folders: str | Path, cache: Cache | None = None) -> Self:
        """Opens one dataset folder, or several as one; a folder may be one that ``merge`` or ``subset`` wrote.

        A folder elsewhere is named by an address that fsspec knows, such as ``http://host/data/chexpert`` or
        ``s3://bucket/chexpert``. Its index is fetched now, its shards when they are first read, into ``cache``;
        default: that of the variables ``MOCO_CXR_CACHE`` and ``MOCO_CXR_CACHE_BYTES``.

        Raises:
            InputError: a folder is missing, is no dataset or has another format version; the members of a derived
                one are gone or were packed anew; an address that cannot be reached.
        """
        datasets = Datasets([Address.parse(path) or Path(path) for path in (folder, *more_folders)], cache)
        return cls(datasets, np.arange(len(datasets.table), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        whole = len(self._datasets.table)
        return f"<ShardIndex: {len(self):,} of {whole:,} images of {', '.join(map(str, self.folders))}>"

    @property
    def folders(self) -> tuple[Path | Address, ...]:
        """The folders that were opened."""
        return tuple(self._datasets.folders)

    @property
    def is_remote(self) -> bool:
        """Whether images of some dataset are fetched from elsewhere."""
        return any(packed.remote is not None for packed in self._datasets.packed)

    @property
    def datasets(self) -> Datasets:
        """What this selection is made from: the shards, and who fetches them."""
        return self._datasets

    @property
    def packed(self) -> tuple[Packed, ...]:
        """The packed datasets that hold the images: those opened, and the members of derived ones."""
        return tuple(self._datasets.packed)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprint of each packed dataset: what was packed, and how."""
        return tuple(packed.fingerprint for packed in self._datasets.packed)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels of all datasets opened, without repeats."""
        return tuple(dict.fromkeys(name for packed in self._datasets.packed for name in packed.labels))

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Columns that somebody asked to keep when packing, of all datasets opened, without repeats."""
        return tuple(dict.fromkeys(name for packed in self._datasets.packed for name in packed.kept))

    @property
    def table(self) -> pa.Table:
        """The selected rows, in the order of ``rows``."""
        return self._datasets.table.take(pa.array(self.rows))

    def where(self, **columns: Any) -> "ShardIndex":
        """Rows whose columns have the given value, or one of the given values, as in
        ``where(split="train", view=("frontal", None))``, None for blank; ``train``, ``valid``, ``test`` may have none.

        Raises:
            InputError: no such column, or a value that it does not hold in any dataset, with those that it does.
        """
        keep = np.ones(len(self), dtype=bool)
        for name, wanted in columns.items():
            values = [wanted] if isinstance(wanted, str | bytes) or not isinstance(wanted, Collection) else list(wanted)
            column = self._column(name)
            matches = pc.is_in(column, value_set=values_of_column(self._datasets.table, name, values))
            keep &= matches.to_numpy(zero_copy_only=False)
        return ShardIndex(self._datasets, self.rows[keep])

    def take(self, positions: npt.ArrayLike) -> "ShardIndex":
        """The rows at these positions (or under this boolean mask) of the selection, in that order."""
        chosen = np.asarray(positions)
        return ShardIndex(self._datasets, self.rows[chosen if chosen.size else chosen.astype(np.int64)])

    def require_rows(self, what: str) -> Self:
        """This selection, if it has rows.

        Raises:
            InputError: it has none; ``what`` says in words what was asked for.
        """
        if not len(self):
            where = ", ".join(map(str, self.folders))
            splits = ", ".join(sorted(set(self._datasets.table["split"].to_pylist())))
            raise InputError(
                f"{what}: selects no image of {where}; its splits are {splits}, or no image meets all asked"
            )
        return self

    @checked_arguments
    def fraction(
        self,
        share: Share,
        *,
        draw: Count = 0,
        by: Literal["patient", "image"] = "patient",
        seed: Seed = 0,
        nested: bool = True,
    ) -> "ShardIndex":
        """A random ``share`` of the patients (or images), in row order; at least one of them.

        ``nested``: a smaller share of the same draw and seed is a subset of a larger one; otherwise draws of different
        shares are independent.

        Raises:
            InputError: the share is not in (0, 1], a negative draw or seed.
        """
        groups = self.patients() if by == "patient" else np.arange(len(self))
        names = np.unique(groups)
        address = (seed, draw) if nested else (seed, draw, round(share * 1e9))
        order = generator("fraction", *address).permutation(len(names))
        chosen = names[order[: max(1, round(share * len(names)))]]
        return self.take(np.isin(groups, chosen))

    def patients(self) -> Rows:
        """A number for each row's patient, (N,): equal within a patient; patients of two datasets are never equal."""
        names = pc.binary_join_element_wise(self._column("dataset"), self._column("patient_id"), "\x1f")
        return np.asarray(names.combine_chunks().dictionary_encode().indices, dtype=np.int64)

    @property
    def num_patients(self) -> int:
        """Distinct patients of the selection."""
        return len(np.unique(self.patients()))

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of the selection, (N,): text, bytes as objects (null as None), numbers as float64 (null as NaN)."""
        column = self._column(name)
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            return np.array(column.to_pylist(), dtype=object)
        return np.array(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64)

    @checked_arguments
    def labels(self, name: str, policy: LabelPolicy = "ignore") -> npt.NDArray[np.float32]:
        """A label of the selection, (N,): 1 present, 0 absent, NaN unlabelled.

        A blank is absent or NaN by the rule of the row's dataset (:mod:`shards.format.blank`; absent in CheXpert and
        MIMIC, as in MoCo-CXR); a label that the dataset has no column for is NaN. Uncertain becomes NaN, 1 or 0 by
        ``policy``.

        Raises:
            InputError: unknown label or policy.
        """
        if name not in self.label_names:
            folders = ", ".join(map(str, self.folders))
            raise unknown_label(name, folders, self.label_names)
        uncertain = {"ignore": np.nan, "ones": 1.0, "zeros": 0.0}
        values = self.column(name)
        is_absent = np.array([packed.blanks.get(name) == "absent" for packed in self.packed])[self.packed_numbers()]
        is_absent &= np.isnan(values)
        for number in np.unique(self.packed_numbers()[is_absent]).tolist():
            if not self.packed[number].tells_blanks:
                tell_former_rule(self.packed[number].folder)
        values[is_absent] = 0.0
        values[values == -1.0] = uncertain[policy]
        values[values == UNKNOWN] = np.nan
        return values.astype(np.float32)

    def is_said(self, name: str) -> npt.NDArray[np.bool_]:
        """Whether anything is known of a label, (N,): present, absent or uncertain. Raises as :meth:`labels`."""
        return np.isfinite(self.labels(name, "zeros"))

    def sizes(self) -> Rows:
        """Stored (width, height) of each row, (N, 2), in pixels."""
        return self._datasets.sizes[self.rows]

    def packed_numbers(self) -> Rows:
        """Position in :attr:`packed` of each row's dataset, (N,)."""
        return self._datasets.number[self.rows]

    def folder_numbers(self) -> Rows:
        """Position in :attr:`folders` of the folder each row was opened from, (N,)."""
        return self._datasets.folder_number[self.rows]

    def shard_numbers(self) -> Rows:
        """A number for each row's shard, (N,): equal within a shard, ascending as the rows are."""
        return self._datasets.tar_number[self.rows]

    def positions(self, rows: npt.ArrayLike) -> Rows:
        """Where row numbers, (B,), are in the selection, (B,): ``index.labels(name)[index.positions(batch.rows)]`` are
        the labels of a batch.

        Raises:
            InputError: a row is not in the selection.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        found = self._row_order[np.searchsorted(self.rows, wanted, sorter=self._row_order) % max(1, len(self))]
        if not np.array_equal(self.rows[found], wanted):
            raise InputError(f"row {wanted[self.rows[found] != wanted][0]}: not in this selection of {len(self)} rows")
        return found

    @cached_property
    def _row_order(self) -> Rows:
        return np.argsort(self.rows, kind="stable")

    def read(self, row: int) -> memoryview:
        """Encoded bytes of the image at a row number.

        Raises:
            InputError: its shard is missing or cut off, or cannot be read or fetched.
        """
        return self._datasets.read(row)

    def crc32(self, row: int) -> int:
        """CRC-32 of the encoded bytes of a row when they were packed."""
        return int(self._datasets.checksums[row])

    def place(self, row: int) -> Place:
        """Where a row's encoded image lies."""
        data = self._datasets
        return Place(
            key=data.table["key"][row].as_py(),
            tar=data.tars[int(data.tar_number[row])],
            offset=int(data.offsets[row]),
            length=int(data.lengths[row]),
        )

    def dali_entries(self) -> dict[Path, list[TarEntry]]:
        """The selected images of each tar that holds some, in the order of the selection."""
        by_tar: dict[Path, list[TarEntry]] = {}
        data = self._datasets
        for row, key in zip(self.rows.tolist(), self._column("key").to_pylist(), strict=True):
            name = f"{key}.{data.packed[data.number[row]].extension}"
            entry = TarEntry(name, int(data.offsets[row]), int(data.lengths[row]))
            by_tar.setdefault(data.tars[data.tar_number[row]], []).append(entry)
        return by_tar

    def write_dali_index(self, folder: str | Path) -> list[tuple[Path, Path]]:
        """Writes a DALI index for the selected rows of each shard they lie in, and returns (tar, index) paths."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        pairs = []
        for number, (tar, entries) in enumerate(self.dali_entries().items()):
            path = Path(folder) / f"{number:04d}-{tar.stem}.idx"
            atomic_write(path, dali_index(entries))
            pairs.append((tar, path))
        return pairs

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self._datasets.table.column_names:
            known = ", ".join(self._datasets.table.column_names)
            raise InputError(f"column {name!r}: not in the index; known: {known}")
        return self._datasets.table[name].take(pa.array(self.rows))
