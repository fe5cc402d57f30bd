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
_FEW = 20  # values of a column that a message lists
_NO_VALUE = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError)
FINGERPRINT = "fingerprint"
SOURCE_HASH = "source_hash"
TEXT_COLUMNS = ("indication", "findings")
RESERVED_COLUMNS = frozenset(
    {*BASE_COLUMNS, FINGERPRINT, SOURCE_HASH, *TEXT_COLUMNS, BOXES}
)  # no label may have these names
REJECTED_SCHEMA = pa.schema([("source_path", pa.string()), ("reason", pa.string()), ("message", pa.string())])


def values_of_column(index: pa.Table, name: str, values: Sequence[Any]) -> pa.Array:
    """Values to choose rows of a column by, as the column holds them.

    Raises:
        InputError: the column cannot hold one of them, or is one of few values and does not, with those that it holds.
            A split that other datasets have is let pass: whether there is a ``valid`` may be asked.
    """
    column = index[name]
    if pa.types.is_nested(column.type):
        raise InputError(f"column {name!r}: holds {column.type}, by which no rows are chosen; choose another column")
    try:
        wanted = pa.array(values, column.type)
    except _NO_VALUE:
        held = pc.unique(column)
        wrong = next(value for value in values if not _fits(value, column.type))
        raise InputError(f"{name} {wrong!r}: {_known(wrong, held, kind=column.type)}") from None
    held = pc.unique(column)
    absent = pc.invert(pc.is_in(wanted, value_set=held)).to_pylist()
    if any(absent) and 0 < len(held) <= _FEW:
        for value, is_absent in zip(values, absent, strict=True):
            if is_absent and not (name == "split" and value in SPLITS):
                raise InputError(f"{name} {value!r}: {_known(value, held, kind=column.type)}")
    return wanted


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        pa.array([value], kind)
    except _NO_VALUE:
        return False
    return True


def _known(value: Any, held: pa.Array, *, kind: pa.DataType) -> str:
    """What a column holds instead of a value, the nearest word first."""
    if len(held) > _FEW:
        return f"is no value of a column of {kind}; give such a value"
    words = sorted((str(each) for each in held.to_pylist() if each is not None), key=_in_order)
    nearest = difflib.get_close_matches(str(value), words, n=1) if isinstance(value, str) else []
    like = f"did you mean {nearest[0]}?" if nearest else "no image has it."
    return f"{like} Known are {', '.join([*words, *(['None'] if held.null_count else [])])}"


def _in_order(word: str) -> tuple[float, str]:
    try:
        return float(word), word
    except ValueError:
        return 0.0, word


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
