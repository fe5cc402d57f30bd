"""Derived datasets: folders without images of their own. ``merge`` makes one of whole datasets, ``subset`` one of
chosen rows. Both open with ``ShardIndex.open`` like any other dataset; no image is copied.

Rows are chosen on the command line by conditions: ``--where split=train view=frontal "Pleural Effusion=1"``.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.base.atomic import atomic_file, atomic_folder
from shards.base.errors import InputError, writing
from shards.base.facts import versions
from shards.base.mistakes import nearest
from shards.datasets import MEMBER, member_entry
from shards.format.manifest import file_checksum, read_manifest, write_manifest
from shards.format.schema import FORMAT_VERSION
from shards.index import ShardIndex
from shards.remote.address import require_here
from shards.repeated import refuse_repeated

_MANY = 20  # values that a message lists


def merge_datasets(folders: Sequence[Path], output: Path) -> ShardIndex:
    """Writes several datasets as one to ``output`` and opens it. Derived datasets can be members too.

    Raises:
        InputError: fewer than two folders, one given twice, one that is no dataset or is elsewhere, images that lie in
            two of them, or an ``output`` that exists.
    """
    if len(folders) < 2:
        raise InputError(f"merge: {len(folders)} dataset(s) given; give at least two folders")
    twice = [path for path, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise InputError(f"merge: {twice[0]} is given twice; its images would count twice")
    for folder in folders:
        require_here(folder, "merge")
    index = ShardIndex.open(*folders)
    refuse_repeated(index, "merge", in_copies=False)
    members = [
        member_entry(output, folder, read_manifest(folder)["fingerprint"]) for folder in folders
    ]  # their own fingerprints, not those of what they hold
    _require_new(output)
    with writing(output), atomic_folder(output) as folder:
        _write_about(folder, output, index, members, {})
    return ShardIndex.open(output)


def merge_notes(index: ShardIndex) -> list[str]:
    """What a user should know of a merge: labels that some members do not have or leave blank in another sense, and
    members of one name."""
    notes = []
    for label in index.label_names:
        without = [packed.folder.name for packed in index.packed if label not in packed.labels]
        if without:
            notes.append(f"label {label!r} is unknown for the images of {', '.join(without)}")
        blank_in = set(index.packed_numbers()[np.isnan(index.column(label))].tolist())
        rules = {
            packed.folder.name: packed.blanks[label]
            for number, packed in enumerate(index.packed)
            if number in blank_in and label in packed.labels
        }
        if len(set(rules.values())) > 1:
            told = ", ".join(f"{rule} in {name}" for name, rule in rules.items())
            notes.append(f"label {label!r} left blank is {told}")
    deep = [packed.folder.name for packed in index.packed if packed.depth == 16]
    if 0 < len(deep) < len(index.packed):
        told = f"images of {', '.join(deep)} have 16 bits a pixel and the others 8"
        notes.append(f"{told}; where both are read, pixels of both take two bytes")
    names = {str(name) for name in index.column("dataset")}
    if len(names) < len(index.packed):
        alike = "patients of one number in them count as one person; build with --name to tell them apart"
        notes.append(f"{len(index.packed)} datasets, but the only names are {', '.join(sorted(names))}: {alike}")
    return notes


def write_subset(index: ShardIndex, output: Path, *, selection: Mapping[str, Any]) -> ShardIndex:
    """Writes the selected rows of ``index``, with a DALI index for each tar, to ``output``, and opens it.

    Args:
        selection: how the rows were chosen, for ``dataset.json``; values that JSON can hold.

    Raises:
        InputError: no rows, rows that are there twice, rows of a dataset elsewhere, or an ``output`` that exists.
    """
    index.require_rows("subset")
    refuse_repeated(index, "subset")
    for member in index.packed:
        if member.remote is not None:
            raise InputError(f"subset: {member.remote.source.address} is elsewhere; copy the dataset folder here first")
    used, numbers = np.unique(index.packed_numbers(), return_inverse=True)
    packed = [index.packed[number] for number in used]
    members = [member_entry(output, one.folder, one.fingerprint) for one in packed]
    table = index.table.append_column(MEMBER, pa.array(numbers, pa.int32())).combine_chunks()
    _require_new(output)
    with writing(output), atomic_folder(output) as folder:
        with atomic_file(folder / "index.parquet") as file:
            pq.write_table(table, file, compression="zstd")
        pairs = index.write_dali_index(folder)
        dali = [[os.path.relpath(tar.resolve(), output.resolve()), idx.name] for tar, idx in pairs]
        _write_about(folder, output, index, members, {"selection": dict(selection), "dali": dali})
    return ShardIndex.open(output)


def _require_new(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output}: exists already; choose a new folder or remove it")


def _write_about(
    folder: Path, output: Path, index: ShardIndex, members: list[dict[str, str]], more: Mapping[str, Any]
) -> None:
    files = {path.name: file_checksum(path) for path in sorted(folder.iterdir())}
    content = json.dumps([members, files.get("index.parquet")])
    splits = pc.value_counts(index.table["split"]).to_pylist()
    about = {
        "format_version": FORMAT_VERSION,
        "name": output.resolve().name,
        "members": members,
        "labels": list(index.label_names),
        "totals": {
            "images": len(index),
            "patients": index.num_patients,
            "bytes": int(pc.sum(index.table["length"]).as_py() or 0),
            "images_by_split": {one["values"]: one["counts"] for one in sorted(splits, key=lambda one: one["values"])},
        },
        "fingerprint": hashlib.sha256(content.encode()).hexdigest(),
        "tools": versions(["moco-cxr"]),
        **more,
    }
    write_manifest(folder, about, files)


def open_rows(datasets: Sequence[Path], conditions: Sequence[str]) -> ShardIndex:
    """The rows of datasets that meet every condition.

    Raises:
        InputError: no dataset, a condition as :func:`filter_rows` refuses it, no such row, or rows that are twice.
    """
    index = filter_rows(ShardIndex.open(*datasets), conditions).require_rows(f"--where {' '.join(conditions)}")
    refuse_repeated(index, "DATASET")
    return index


def filter_rows(index: ShardIndex, conditions: Sequence[str]) -> ShardIndex:
    """Rows that meet every condition ``COLUMN=VALUE``, ``COLUMN=VALUE,VALUE`` (one of them) or ``COLUMN=`` (blank).

    Raises:
        InputError: a condition of another form, an unknown column, or a value that no row has.
    """
    table = index.table
    chosen = {}
    for condition in conditions:
        column, sign, text = condition.rpartition("=")
        if not sign:
            raise InputError(f"--where {condition}: must be COLUMN=VALUE, such as split=train or view=frontal,lateral")
        if column not in table.schema.names:
            known = ", ".join(table.schema.names)
            like = nearest(column, table.schema.names)
            raise InputError(f"--where {condition}: there is no column {column!r}{like} columns: {known}")
        if column in chosen:
            raise InputError(f"--where {condition}: {column} is given twice; join the values by commas")
        values = [_value(condition, part, table.schema.field(column).type) for part in text.split(",")]
        _require_known(condition, column, values, table)
        chosen[column] = values
    return index.where(**chosen)


def _value(condition: str, text: str, kind: pa.DataType) -> Any:
    if pa.types.is_nested(kind):
        raise InputError(f"--where {condition}: {kind} is no column to choose by; choose another column")
    if not text:
        return None
    if pa.types.is_string(kind):
        return text
    try:
        return pa.scalar(float(text)).cast(kind).as_py()
    except pa.ArrowNotImplementedError:
        raise InputError(
            f"--where {condition}: a column of {kind} holds no text or number to ask for; choose another column"
        ) from None
    except (ValueError, pa.ArrowInvalid):
        give = "1 (present), 0 (absent) or -1 (uncertain), as of any label" if kind == pa.int8() else "a number"
        raise InputError(f"--where {condition}: {text!r} is no value of a column of {kind}; give {give}") from None


def _require_known(condition: str, column: str, values: Sequence[Any], table: pa.Table) -> None:
    known = pc.unique(table[column]).to_pylist()
    missing = [value for value in values if value not in known]
    if missing:
        listed = sorted("(blank)" if value is None else str(value) for value in known[: _MANY + 1])
        also = f"; it holds {', '.join(listed)}" if len(known) <= _MANY else ""
        said = "blank" if missing[0] is None else repr(missing[0])
        raise InputError(f"--where {condition}: no image has {column} {said}{also}")
