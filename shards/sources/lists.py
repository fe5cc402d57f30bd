"""The lists that come with releases: tables with a header, plain or gzipped, separated by commas, tabs, semicolons or
bars.

Text is UTF-8, or UTF-16 where the file shows it. Any other encoding has to be named: a wrong guess garbles names, and
replacing what cannot be read makes one patient of several.
"""

import codecs
import contextlib
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from shards.base.errors import InputError, OptionError
from shards.sources.files import MAX_FILE_BYTES, SourceFiles

_SNIFFED = 1 << 16
_LONGEST = 1 << 24  # signs of a line
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DELIMITERS = ",;\t|"
_GZIP = b"\x1f\x8b"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # Excel's, new and old
_SAYS_DELIMITER = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # the first line of some of Excel's exports


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


def read_list(
    files: SourceFiles, name: str, *, needed: Iterable[str] = (), encoding: str | None = None
) -> Iterator[Row]:
    """The rows of a list, one at a time. Empty lines are passed over; a row with more or fewer fields than the header
    has a ``problem``, because its values may stand in the wrong columns. What is empty behind the last column does not
    count.

    Args:
        encoding: of the text, such as ``cp1252``; default: UTF-8, or UTF-16 where the file shows it.

    Raises:
        InputError: a needed column is missing, or there twice with different values; the file cannot be read as such a
            table, or is of another encoding.
    """
    needed = tuple(needed)
    with _opened(files, name) as (plain, label):
        reader, header = _begin(plain, label, needed=needed, encoding=encoding)
        for column in needed:
            if column not in header:
                has = f"it has {', '.join(map(repr, header))}" if header else "the file is empty"
                raise InputError(
                    f"{label}: column {column!r} is missing; {has}", bare=f"the list: column {column!r} is missing"
                )
        twice = {column: _places(header, column) for column in needed if header.count(column) > 1}
        try:
            for fields in reader:
                while len(fields) > len(header) and not fields[-1].strip():
                    fields.pop()
                if fields:
                    problem = None
                    if len(fields) != len(header):
                        problem = f"line {reader.line_num} has {len(fields)} fields, the header {len(header)}"
                    elif twice:
                        _require_equal(fields, twice, f"{label}, line {reader.line_num}")
                    yield Row(reader.line_num, dict(zip(header, map(str.strip, fields), strict=False)), problem)
        except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
            hint = "; a quotation mark above is not closed" if "end of data" in str(error) else ""
            told = f"line {reader.line_num}: cannot be read as a table: {error}{hint}"
            raise InputError(f"{label}, {told}", bare=f"the list, {told}") from error


def columns_of(files: SourceFiles, name: str, *, encoding: str | None = None) -> list[str]:
    """The header of a list. Raises InputError as :func:`read_list` does."""
    with _opened(files, name) as (plain, label):
        return _begin(plain, label, encoding=encoding)[1]


def check_encoding(encoding: str | None) -> None:
    """Refuses what is no encoding of text.

    Raises:
        InputError: naming it.
    """
    try:
        "".encode(encoding or "utf-8")
    except LookupError:
        raise OptionError(
            f"--encoding {encoding}: unknown; give cp1252, latin-1, utf-16, shift_jis or the like"
        ) from None


@contextlib.contextmanager
def _opened(files: SourceFiles, name: str) -> Iterator[tuple[IO[bytes], str]]:
    """A list's bytes, and what messages call it."""
    label = f"{files.label}/{name}"
    try:
        with files.open(name) as raw:
            yield _unzipped(raw, name, label), label
    except UnicodeDecodeError as error:
        raise InputError(_undecodable(files, name, label, error.encoding)) from None
    except UnicodeError as error:  # no byte order mark where the encoding that was named needs one
        raise InputError(f"{label}: {error}; check --encoding, or leave it out") from error
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror or error}") from error
    except (csv.Error, EOFError, zlib.error) as error:
        raise InputError(f"{label}: cannot be read as a table: {error}") from error


def _unzipped(raw: IO[bytes], name: str, label: str) -> Any:
    start = raw.read(8)
    raw.seek(0)
    if start.startswith(_WORKBOOKS):
        raise InputError(
            f"{label}: cannot be read as a table: it is a workbook or a zip; save its table as CSV in UTF-8"
        )
    return gzip.GzipFile(fileobj=raw) if name.lower().endswith(".gz") or start.startswith(_GZIP) else raw


def _begin(
    plain: IO[bytes], label: str, *, needed: tuple[str, ...] = (), encoding: str | None = None
) -> tuple[Any, list[str]]:
    """A reader of the rows, and the header before them."""
    encoding = encoding or _encoding(plain.read(_SNIFFED))
    plain.seek(0)
    text = io.TextIOWrapper(plain, encoding=encoding, newline="")
    first = text.readline(_SNIFFED)
    said = _SAYS_DELIMITER.fullmatch(first.strip().lstrip("\ufeff"))
    if not said:
        text.seek(0)
    # strict: a quotation mark left open is an error, and does not swallow the rows behind it
    reader = csv.reader(_lines(text), delimiter=said[1] if said else _delimiter(first, label, needed), strict=True)
    header = [column.strip().strip("\ufeff") for column in next((fields for fields in reader if any(fields)), [])]
    while header and not header[-1]:
        header.pop()
    return reader, header


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a text, one at a time; a short file can be inflated to one without end."""
    while line := text.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise csv.Error(f"a line of {_LONGEST:,} signs or more")
        yield line


def _encoding(head: bytes) -> str:
    """What the first bytes of a text show: a byte order mark, or the zeros of UTF-16."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    low, high = head[0::2].count(0), head[1::2].count(0)
    if low + high > len(head) // 5:
        return "utf-16-le" if high > low else "utf-16-be"
    return "utf-8"


def _delimiter(line: str, label: str, needed: tuple[str, ...]) -> str:
    """What separates the columns of a header: it gives the needed ones, or else the most; the usual one comes first."""
    usual = "\t" if ".tsv" in label.lower() else ","
    columns = {
        sign: {column.strip().strip("\ufeff") for column in next(csv.reader([line], delimiter=sign), [])}
        for sign in (usual, *_DELIMITERS)
    }
    fitting = [sign for sign, found in columns.items() if needed and set(needed) <= found]
    return fitting[0] if fitting else max(columns, key=lambda sign: len(columns[sign]))


def _places(header: list[str], column: str) -> list[int]:
    return [place for place, name in enumerate(header) if name == column]


def _require_equal(fields: list[str], twice: dict[str, list[int]], where: str) -> None:
    for column, places in twice.items():
        values = list(dict.fromkeys(fields[place].strip() for place in places))
        if len(values) > 1:
            said = " and ".join(map(repr, values))
            raise InputError(
                f"{where}: column {column!r} is there {len(places)} times, with different values ({said}); rename or "
                "remove all but one"
            )


def _undecodable(files: SourceFiles, name: str, label: str, encoding: str) -> str:
    """Which line of a list is not text of ``encoding``, and what to do."""
    with files.open(name) as raw:
        data = _unzipped(raw, name, label).read(MAX_FILE_BYTES)
    before, shown = data, b""
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        before, shown = data[: error.start], data[error.start : error.start + 40]
    line = before.decode(encoding, "ignore").count("\n") + 1
    text = (before[before.rfind(b"\n") + 1 :][-40:] + shown.partition(b"\n")[0]).decode("latin-1").strip()
    return (
        f"{label}, line {line}: cannot be read, for it is not {encoding.upper()} (as Latin-1 it reads {text!r}); "
        "name its encoding, such as --encoding cp1252 (sources table and dicom), or save it as UTF-8"
    )
