"""What becomes of files: the damages that every reader of a file is driven over, written once, and who drives."""

import contextlib
import copy
import io
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from shards.base.errors import InputError
from train.checkpoints.snapshot import BrokenSnapshot

Damage = tuple[str, Callable[[Path], object]]
WRONG = (None, True, -1, 2.5, 2**70, "x", [], [1], {}, {"x": 1})
DEEP = 100_000
_ENDING_ANYWHERE = (".parquet", ".yaml", ".csv")  # Parquet is read from its end; text may end behind any line


def of_bytes(content: bytes) -> Iterator[Damage]:
    """Whatever the file is."""
    size = len(content)
    for part in (0.0, 0.1, 0.5, 0.9):
        yield f"cut at {part:.0%}", _writing(content[: int(part * size)])
    yield "last byte gone", _writing(content.rstrip(b"\n")[:-1])
    yield "zeros", _writing(bytes(size))
    yield "zeros at the end", _writing(content[: size // 2] + bytes(size - size // 2))
    yield "no UTF-8", _writing(b"\xff\xfe\x80" + content)
    yield "doubled", _writing(content + content)
    yield "a page", _writing(b"<!doctype html><title>404</title>")
    yield "a picture", _writing(b"\x89PNG\r\n\x1a\n" + bytes(100))
    for bracket in (b"[", b'{"a":'):
        yield f"{bracket!r} without end", _writing(bracket * DEEP)


def of_place() -> Iterator[Damage]:
    """Something else in the file's place."""
    yield "gone", lambda path: None
    yield "a folder", lambda path: path.mkdir()
    yield "a pipe", lambda path: os.mkfifo(path)
    yield "a link to itself", lambda path: path.symlink_to(path.name)
    yield "a link to nothing", lambda path: path.symlink_to("nowhere")
    yield "a device", lambda path: path.symlink_to("/dev/zero")


def of_fields(value: Any, dump: Callable[[Any], bytes], *, thorough: bool) -> Iterator[Damage]:
    """A document of mappings and lists: each key missing, another beside it, and each value of another kind."""
    for number, place in enumerate(_places(value)):
        name = ".".join(map(str, place)) or "all"
        if place and (thorough or number % 2):
            yield f"{name} missing", _writing(dump(_changed(value, place, None, remove=True)))
        wrong = WRONG if thorough or not place else (WRONG[number % len(WRONG)],) if number % 2 == 0 else ()
        for each in wrong:
            yield f"{name} is {each!r}", _writing(dump(_changed(value, place, each)))
        for each in (float("nan"), float("inf")) if thorough else ():
            yield f"{name} is {each}", _writing(dump(_changed(value, place, each)))
        if isinstance(_at(value, place), dict):
            yield f"{name} with more", _writing(dump(_changed(value, (*place, "strange"), 1)))


def of_columns(table: pa.Table) -> Iterator[Damage]:
    """A table: each column missing, doubled, of another kind, blank; no rows; other rows."""
    yield "no rows", _writing(_parquet(table.slice(0, 0)))
    yield "a row less", _writing(_parquet(table.slice(1)))
    yield "no columns", _writing(_parquet(pa.table({})))
    for number, name in enumerate(table.column_names):
        yield f"{name} missing", _writing(_parquet(table.drop_columns([name])))
        yield f"{name} twice", _writing(_parquet(table.append_column(name, table[name])))
        for values in (
            pa.array([1] * len(table)),
            pa.array([0.5] * len(table)),
            pa.array(["x"] * len(table)),
            pa.array([[1]] * len(table)),
            pa.nulls(len(table), table.schema.field(name).type),
            pa.nulls(len(table)),
        ):
            if not values.equals(table[name].combine_chunks()):
                yield f"{name} is {values.type}", _writing(_parquet(table.set_column(number, name, values)))
    yield "a column more", _writing(_parquet(table.append_column("strange", pa.array([1] * len(table)))))
    yield "no metadata", _writing(_parquet(table.replace_schema_metadata(None)))


def apply(damage: Callable[[Path], object], path: Path) -> None:
    """Does to the file what is told, whatever was in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    damage(path)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@dataclass
class Reader:
    """A file that is right, what can be wrong with it besides, and who reads it.

    ``may_be_gone``: without it, there is nothing to read. ``is_anew``: what is damaged is made again, not told.
    ``is_users``: several lines may tell of several mistakes. ``has_unread_end``: what lies behind the last image is
    not looked at. ``named``: what messages have in them; default: the name. ``by_columns``: a table is damaged by its
    columns as well.
    """

    path: Path
    read: Callable[[], object]
    fields: Any = None
    dump: Callable[[Any], bytes] = as_json
    may_be_gone: bool = False
    is_anew: bool = False
    is_users: bool = False
    has_unread_end: bool = False
    named: str = ""
    by_columns: bool = True

    def damages(self, *, thorough: bool) -> Iterator[Damage]:
        yield from of_place()
        yield from of_bytes(self.path.read_bytes())
        if self.fields is not None:
            yield from of_fields(self.fields, self.dump, thorough=thorough)
        if self.path.suffix == ".parquet" and self.by_columns:
            yield from of_columns(pq.read_table(self.path))

    def biting(self) -> Iterator[Damage]:
        """Those that no reader can take for a file that is right."""
        spared = {"gone", "a link to nothing"} if self.may_be_gone else set()
        if self.path.suffix in _ENDING_ANYWHERE:
            spared |= {"doubled", "cut at 90%", "last byte gone"}
        if self.path.suffix == ".pth":
            spared |= {"doubled"}  # a zip is read from its end, whatever lies before
        if self.has_unread_end:
            spared |= {"doubled", "last byte gone"}
        yield from (each for each in [*of_place(), *of_bytes(self.path.read_bytes())] if each[0] not in spared)


def as_yaml(value: Any) -> bytes:
    return yaml.safe_dump(value).encode()


def as_lines(values: Any) -> bytes:
    """And one more, as a last line may be cut off."""
    lines = values if isinstance(values, list) else [values]
    return b"".join(as_json(line) + b"\n" for line in [*lines, {"step": 9}])


def outcome(reader: Reader) -> str | None:
    """What the reader says; None where it takes the file."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("error")
            reader.read()
    except BrokenSnapshot as error:  # is passed over with a warning that names the folder
        return f"{reader.path.name}: {error}; passed over"
    except InputError as error:
        return str(error)
    return None


def drive(reader: Reader, *, thorough: bool) -> None:
    assert outcome(reader) is None, "what is right is read"
    damages, biting = list(reader.damages(thorough=thorough)), {name for name, _ in reader.biting()}
    taken = set()
    for name, damage in damages:
        apply(damage, reader.path)
        try:
            said = outcome(reader)
        except Exception as error:
            raise AssertionError(f"{reader.path.name}, {name}: {type(error).__name__}: {error}") from error
        if said is None:
            taken.add(name)
            continue
        assert_told(reader, name, said)
    assert reader.is_anew or not biting & taken, biting & taken


def assert_told(reader: Reader, damage: str, said: str) -> None:
    """One line that names the file and has a remedy."""
    assert reader.is_users or "\n" not in said, (damage, said)
    assert (reader.named or reader.path.name) in said, (damage, said)
    assert reader.is_users or ";" in said, (damage, said)


def _writing(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*above, key))


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def _changed(value: Any, place: tuple[Any, ...], new: Any, *, remove: bool = False) -> Any:
    if not place:
        return new
    changed = copy.deepcopy(value)
    holder = _at(changed, place[:-1])
    if remove:
        del holder[place[-1]]
    else:
        holder[place[-1]] = new
    return changed
