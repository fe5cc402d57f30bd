"""The lists that come with releases: comma- or tab-separated tables, plain or gzipped, with a header."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from shards.base.errors import InputError
from shards.base.words import reason_of
from shards.sources.files import SourceFiles


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what its columns hold, stripped. ``problem`` says why the row cannot be trusted, if it cannot."""

    line: int
    values: dict[str, str]
    problem: str | None = None

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    def get(self, column: str | None) -> str:
        """What a column holds; empty if the table or the row lacks the column, or ``column`` is None."""
        return self.values.get(column, "") if column else ""


def read_list(files: SourceFiles, name: str, *, needed: Iterable[str] = ()) -> Iterator[Row]:
    """The rows of a list, one at a time. Empty lines are passed over; a row with more or fewer fields than the header
    has a ``problem``, because its values may stand in the wrong columns.

    Raises:
        InputError: a needed column is missing, or the file cannot be read as such a table.
    """
    label = f"{files.label}/{name}"
    try:
        with files.open(name) as raw:
            yield from read_rows(raw, label=label, needed=needed)
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {reason_of(error)}") from error


def columns_of(files: SourceFiles, name: str) -> list[str]:
    """The header of a list. Raises InputError as :func:`read_list` does."""
    label = f"{files.label}/{name}"
    try:
        with files.open(name) as raw:
            return _header(_reader(raw, label))
    except (OSError, csv.Error, EOFError, zlib.error) as error:
        raise InputError(f"{label}: cannot be read as a table: {error}") from error


def read_rows(raw: IO[bytes], *, label: str, needed: Iterable[str] = ()) -> Iterator[Row]:
    """As :func:`read_list`, from an open file; ``label`` is what messages call it, and tells ``.tsv`` and ``.gz``."""
    reader = _reader(raw, label)
    try:
        header = _header(reader)
        for column in needed:
            if column not in header:
                raise InputError(f"{label}: column {column!r} is missing; it has {', '.join(map(repr, header))}")
        for fields in reader:
            if fields:
                values = dict(zip(header, map(str.strip, fields), strict=False))
                problem = None
                if len(fields) != len(header):
                    problem = f"line {reader.line_num} has {len(fields)} fields, the header {len(header)}"
                yield Row(reader.line_num, values, problem)
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{label}, line {reader.line_num}: cannot be read as a table: {error}") from error


def _reader(raw: IO[bytes], label: str) -> Any:
    plain: Any = gzip.GzipFile(fileobj=raw) if label.lower().endswith(".gz") else raw
    text = io.TextIOWrapper(plain, encoding="utf-8-sig", errors="replace", newline="")
    # strict: a quotation mark left open is an error, and does not swallow the rows behind it
    return csv.reader(text, delimiter="\t" if ".tsv" in label.lower() else ",", strict=True)


def _header(reader: Any) -> list[str]:
    return [column.strip() for column in next(reader, [])]
