"""What a logger is: it takes the lines of ``metrics.jsonl``, one after another, and is closed once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from shards.base.atomic import atomic_write
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from shards.base.stored import read_json_object

End = Literal["finished", "stopped", "failed"]
_NO_NUMBERS = ("step", "warnings")


class Logger(Protocol):
    """A place for metrics. What it raises ends it, and never the run (:class:`train.run.loggers.guarded.Guarded`)."""

    def write(self, line: Mapping[str, Any]) -> None:
        """Takes a line: ``step``, numbers by name or None for what is not finite, and ``warnings`` by kind."""

    def close(self, end: End) -> None:
        """Nothing more comes; ``stopped``: the run may go on later."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a logger is told of the run: its ``folder``, all ``settings``, and the ``step`` behind which it goes on."""

    folder: Path
    settings: Mapping[str, Any]
    step: int = 0


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a line that are finite, by name."""
    return {name: value for name, value in line.items() if name not in _NO_NUMBERS and value is not None}


def plain_name(name: str) -> str:
    """A metric's name without what servers refuse: ``pretext_accuracy_percent`` for ``pretext_accuracy(%)``."""
    words, _, unit = name.rstrip(")").partition("(")
    unit = unit.replace("%", "percent").replace("/", "_per_")
    plain = re.sub(r"[^\w/. -]", "_", f"{words}_{unit}" if unit and name.endswith(")") else name, flags=re.ASCII)
    return plain.strip("/") or "_"


@dataclass(frozen=True, kw_only=True)
class _Kept:
    id: str


def kept_id(path: Path) -> str | None:
    """The identifier under which a run folder's run is known elsewhere; None where there is no file yet.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        kept = from_written(_Kept, read_json_object(path), unknown="ignore")
    except InputError as error:
        raise InputError(f"{path}: {error}; remove it to begin a new run there") from None
    return kept.id


def keep_id(path: Path, name: str) -> None:
    """Writes what :func:`kept_id` reads."""
    atomic_write(path, f'{{"id": "{name}"}}\n')
