"""Files read back, whoever wrote them and whatever became of them since.

Each reader raises :class:`InputError` in words that can follow the name of the file, such as ``is no JSON (...)``, and
nothing else; whoever asked puts the file before them and the remedy behind.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import yaml
from pydantic_core import from_json

from shards.base.errors import InputError
from shards.base.words import reason_of

if TYPE_CHECKING:
    import pyarrow as pa

_BOM = b"\xef\xbb\xbf"


def read_file(path: Path, *, most: int | None = None) -> bytes:
    """The bytes of a regular file: a pipe would keep its reader waiting, a device has no end.

    Raises:
        InputError: it is none, cannot be read, or has more than ``most`` bytes.
    """
    with _opening(path) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise InputError(f"has more than {most:,} bytes, as none has that was written here")
        return file.read()


def check_regular(path: Path) -> None:
    """Refuses, for libraries that open a file themselves, what :func:`read_file` would.

    Raises:
        InputError: it is no regular file, or cannot be read.
    """
    with _opening(path):
        pass


@contextlib.contextmanager
def _opening(path: Path) -> Iterator[BinaryIO]:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError("is no file")
            yield file
    except FileNotFoundError:
        raise InputError("no such file") from None
    except OSError as error:
        raise InputError(f"cannot be read ({reason_of(error)})") from None


def parse_json(content: str | bytes) -> Any:
    """What JSON text holds; ``NaN`` and ``Infinity`` are none, nor is what nests more than 200 deep.

    Raises:
        InputError: it is no JSON.
    """
    try:
        return from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise InputError(f"is no JSON ({error})") from None


def read_json(path: Path) -> Any:
    """What a JSON file holds, as :func:`parse_json`.

    Raises:
        InputError: as :func:`read_file`; it is no JSON.
    """
    return parse_json(read_file(path).removeprefix(_BOM))


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file's object.

    Raises:
        InputError: as :func:`read_json`; it holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError("is no JSON object")
    return content


def with_digest(content: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with a ``digest`` of all that is in it."""
    return {**content, "digest": _digest(content)}


def read_digested(path: Path) -> dict[str, Any]:
    """The object of a JSON file without its ``digest``, which must hold; earlier versions wrote none.

    Raises:
        InputError: as :func:`read_json_object`; something was changed since it was written.
    """
    content = read_json_object(path)
    if "digest" in content and content.pop("digest") != _digest(content):
        raise InputError("was changed since it was written")
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parse_yaml(content: str | bytes) -> Any:
    """What YAML text holds: mappings, lists, text, numbers, truth values and nothing. Aliases, by which a short file
    can stand for an endless one, and tags are not read. As in YAML 1.2, on and off, yes and no and dates are text, and
    1e-4 is a number; a name that is there twice in a mapping is refused.

    Raises:
        InputError: it is no YAML.
    """
    try:
        return _PlainLoader(content).get_single_data()
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        what = "a tab; indent with spaces" if "'\\t'" in str(error.problem) else error.problem
        raise InputError(f"is no YAML ({where}{what})") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"is no YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise InputError("is no YAML (nested too deeply)") from None


def dump_yaml(value: Any) -> str:
    """The inverse of :func:`parse_yaml`."""
    return yaml.dump(value, Dumper=_PlainDumper, sort_keys=False)


def read_parquet(content: Path | bytes) -> "pa.Table":
    """The table of a Parquet file, or of its bytes.

    Raises:
        InputError: as :func:`read_file`; it is no Parquet.
    """
    import pyarrow as pa  # takes a second, which help has no need of
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content if isinstance(content, bytes) else read_file(content)))
        table.validate(full=True)  # that text is UTF-8
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"is no Parquet ({reason_of(error)})") from None


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an ``.npz`` file by name.

    Raises:
        InputError: as :func:`read_file`; it is none, or lacks an array.
    """
    with _opening(path) as file:
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in names}
        except _NO_ARRAYS as error:
            raise InputError(f"is no file of arrays ({reason_of(error)})") from None


def read_array(path: Path, *, mmap_mode: Literal["r"] | None = None) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file, or a map of it.

    Raises:
        InputError: as :func:`read_file`; it is none.
    """
    check_regular(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of a header of Python 2, which none has that was written here
            found = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except _NO_ARRAYS as error:
        raise InputError(f"is no file of an array ({reason_of(error)})") from None
    if not isinstance(found, np.ndarray):
        raise InputError("is no file of an array")
    return found


# What np.load and the zip around its arrays say of a file that is damaged.
_NO_ARRAYS = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, OverflowError, MemoryError, RecursionError),
    *(NotImplementedError, RuntimeError, AttributeError, zipfile.BadZipFile, zlib.error, SyntaxError, TokenError),
    UserWarning,
)


_SCALARS = {  # YAML 1.2.2, section 10.3.2; but 010, which is 8 to some and 10 to others, is text
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}


class _PlainLoader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the base class has it

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise yaml.composer.ComposerError(None, None, "aliases and tags are not read", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = set()
        for key, _ in node.value:
            if key.value in names:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            names.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


class _PlainDumper(yaml.SafeDumper):
    """Quotes what the loader, or one of YAML 1.1, would take for something else than text."""


for _kind, (_pattern, _first) in _SCALARS.items():
    for _side in (_PlainLoader, _PlainDumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^({_pattern})$"), _first)
