"""Figures, errors and our commands in words."""

import os
import sys
from pathlib import Path

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
