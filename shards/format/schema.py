"""The columns of ``index.parquet`` and ``rejected.parquet``, and the format version.

A label's column holds 1 present, 0 absent, -1 uncertain, nothing where it is blank, and -2 where no list speaks of the
image; see :mod:`shards.format.blank`. ``fingerprint`` is that of :mod:`shards.images.fingerprint`. ``source_hash`` is
of the bytes of the file that an image was packed from, so that it is known again in another dataset; under pseudonyms
it is keyed. Datasets of earlier builds have neither column. ``boxes``, see :mod:`shards.format.boxes`, is there where
some image has any; columns that a user asked to keep hold text.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shards.base.errors import InputError
from shards.base.mistakes import nearest
from shards.format.boxes import BOX_TYPE, BOXES

FORMAT_VERSION = 1

BASE_COLUMNS: dict[str, pa.DataType] = {
    "key": pa.string(),
    "dataset": pa.string(),
    "split": pa.string(),
    "patient_id": pa.string(),
    "study_id": pa.string(),
    "view": pa.string(),
    "projection": pa.string(),
    "sex": pa.string(),
    "age": pa.float32(),
    "width": pa.int32(),
    "height": pa.int32(),
    "source_path": pa.string(),
    "source_width": pa.int32(),
    "source_height": pa.int32(),
    "shard": pa.string(),
    "offset": pa.int64(),
    "length": pa.int64(),
    "crc32": pa.uint32(),
}
SPLITS, VIEWS = ("train", "valid", "test"), ("frontal", "lateral")
FINGERPRINT = "fingerprint"
SOURCE_HASH = "source_hash"
TEXT_COLUMNS = ("indication", "findings")
RESERVED_COLUMNS = frozenset(
    {*BASE_COLUMNS, FINGERPRINT, SOURCE_HASH, *TEXT_COLUMNS, BOXES}
)  # no label may have these names
REJECTED_SCHEMA = pa.schema([("source_path", pa.string()), ("reason", pa.string()), ("message", pa.string())])


def check_words(index: pa.Table, name: str, values: Sequence[Any]) -> None:
    """Refuses a split or view that no dataset has; one that other datasets have selects nothing.

    Raises:
        InputError: with the nearest word.
    """
    shared = {"split": SPLITS, "view": VIEWS}.get(name)
    if shared is None:
        return
    known = sorted({*shared, *filter(None, pc.unique(index[name]).to_pylist())})
    for value in values:
        if value is not None and value not in known:
            (like,) = difflib.get_close_matches(str(value), known, n=1, cutoff=0)
            raise InputError(f"{name} {value!r}: did you mean {like}? Known are {', '.join(known)}")


def unknown_label(name: str, folders: str, known: Sequence[str]) -> InputError:
    """What to say of a label that the datasets in ``folders`` have not, with the nearest of those that they have."""
    if not known:
        return InputError(f"label {name!r}: {folders} has no labels; build it with a list of them")
    return InputError(f"label {name!r}: not in {folders}{nearest(name, known)} known: {', '.join(known)}")


def index_schema(
    labels: Sequence[str], texts: Sequence[str] = TEXT_COLUMNS, *, kept: Sequence[str] = (), has_boxes: bool = False
) -> pa.Schema:
    """Schema of an index with these labels, whose names and the format version travel in the table's metadata; ``kept``
    are columns that a user asked to keep."""
    fields = [
        *BASE_COLUMNS.items(),
        (FINGERPRINT, pa.binary()),
        (SOURCE_HASH, pa.uint64()),
        *((name, pa.string()) for name in texts),
        *([(BOXES, BOX_TYPE)] if has_boxes else []),
        *((name, pa.string()) for name in kept),
        *((name, pa.int8()) for name in labels),
    ]
    return pa.schema(fields, metadata={"format_version": str(FORMAT_VERSION), "labels": json.dumps(list(labels))})


def table_from_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table of ``rows``; a column that a row does not hold is null there."""
    return pa.table({name: [row.get(name) for row in rows] for name in schema.names}, schema=schema)
