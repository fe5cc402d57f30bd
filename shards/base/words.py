"""Figures, errors, settings and our commands in words."""

import contextlib
import difflib
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shards.base.errors import InputError

CALLED = "MOCO_CXR_CALLED"
"""The environment variable that ``moco-cxr`` leaves for the processes that it starts."""
_PACKAGES = ("shards", "pipeline", "train", "eval", "benchmarks")
_UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}


def as_size(number: float, *, least: str = "MB") -> str:
    """Bytes as ``0.4 MB``, ``1.5 GB``, ``2.0 TB``; ``least`` is the smallest unit."""
    for unit, size in _UNITS.items():
        if number >= size or unit == least:
            break
    return f"{number / size:,.1f} {unit}"


def as_duration(seconds: float) -> str:
    """``5 s``, ``2 min 05 s``, ``1 h 02 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def reason_of(error: BaseException) -> str:
    """Why, in one line: what the system says of a file, else the first line of the message, else the kind of error."""
    said = getattr(error, "strerror", None) or str(error)
    return next((line for line in said.strip().splitlines() if line), type(error).__name__)


def nearest_path(path: str | Path) -> str:
    """`` Did you mean PATH?`` of something beside an absent path whose name is nearly the same; empty where there is
    none."""
    path = Path(path)
    try:
        names = os.listdir(path.parent)
    except OSError:
        return ""
    nearest = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f" Did you mean {path.parent / nearest[0]}?" if nearest else ""


def as_called(command: str) -> str:
    """A command such as ``shards verify DATASET`` as one types it: behind ``python -m`` where this process was started
    so, else behind ``moco-cxr``, which finds it from any folder."""
    own = Path(sys.argv[0])
    is_module = own.name in ("__main__.py", "pretrain.py") and own.absolute().parent.name in _PACKAGES
    if not is_module or CALLED in os.environ:
        return f"moco-cxr {command}"
    words = command.split(" ", 1)
    program = "python train/pretrain.py" if words[0] == "pretrain" else f"python -m {words[0]}"
    return " ".join([program, *words[1:]])


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """How settings are spelled by whoever has given them: ``run.batch_size`` is ``--run.batch-size`` on a command line,
    and its own name in a file."""

    fields: Collection[str] = ()
    """Names with a section, such as ``run.batch_size``."""
    in_files: Mapping[str, str] = field(default_factory=dict)
    """Of those that come from a file, by name, what the file is called: ``--config FILE``."""

    def of(self, message: str) -> str:
        """A message with all names so; a line that begins with one from a file begins with the file."""
        return "\n".join(self._line(line) for line in message.split("\n"))

    def _line(self, line: str) -> str:
        if self.fields:
            names = "|".join(map(re.escape, sorted(self.fields, key=len, reverse=True)))
            line = re.sub(rf"(?<![\w./-])({names})(?![\w/-]|\.\w)", self._named, line)
        first = re.match(r"(?:--)?([\w.-]+)", line)
        name = first[1].replace("-", "_") if first else ""
        return f"{self.in_files[name]}: {name}{line[first.end() :]}" if first and name in self.in_files else line

    def _named(self, found: re.Match[str]) -> str:
        return found[0] if found[0] in self.in_files else f"--{found[0].replace('_', '-')}"

    @contextlib.contextmanager
    def spoken(self) -> Iterator[None]:
        """Around what refuses settings: its words are changed so.

        Raises:
            InputError: what is raised within.
        """
        try:
            yield
        except InputError as error:
            error.args = (self.of(str(error)),)
            error.bare = None if error.bare is None else self.of(error.bare)
            raise
