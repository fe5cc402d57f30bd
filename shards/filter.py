"""Conditions on the command line: ``--where split=train view=frontal "Pleural Effusion=1"``."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shards.errors import InputError
from shards.index import ShardIndex

_MANY = 20


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
            raise InputError(f"--where {condition}: there is no column {column!r}; columns: {known}")
        if column in chosen:
            raise InputError(f"--where {condition}: {column} is given twice; join the values by commas")
        values = [_value(condition, part, table.schema.field(column).type) for part in text.split(",")]
        _require_known(condition, column, values, table)
        chosen[column] = values
    return index.where(**chosen)


def _value(condition: str, text: str, kind: pa.DataType) -> Any:
    if not text:
        return None
    if pa.types.is_string(kind):
        return text
    try:
        return pa.scalar(float(text)).cast(kind).as_py()
    except (ValueError, pa.ArrowInvalid):
        raise InputError(f"--where {condition}: {text!r} is no value of a column of {kind}; give a number") from None


def _require_known(condition: str, column: str, values: Sequence[Any], table: pa.Table) -> None:
    known = pc.unique(table[column]).to_pylist()
    missing = [value for value in values if value not in known]
    if missing:
        listed = sorted("(blank)" if value is None else str(value) for value in known[: _MANY + 1])
        also = f"; it holds {', '.join(listed)}" if len(known) <= _MANY else ""
        said = "blank" if missing[0] is None else repr(missing[0])
        raise InputError(f"--where {condition}: no image has {column} {said}{also}")
