"""All benchmarks, one after another.

    python -m benchmarks all --quick

Each is a process of its own, so that each has threads, memory and process groups of its own.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class AllConfig:
    """Runs every benchmark."""

    data: Path | None = None
    """A packed dataset for the loaders; default: phantom images, made on the spot."""
    quick: bool = False
    """Small grids and few turns, about a minute each, for a first look."""
    device: str = "cpu"
    """cpu or cuda."""


def run_suite(config: AllConfig) -> int:
    """Runs one after another, and returns 1 where one failed."""
    failed = [words[0] for words in all_commands(config) if not _succeeds(words)]
    if failed:
        print(f"failed: {', '.join(failed)}; the message of each is above", file=sys.stderr)
    return 1 if failed else 0


def all_commands(config: AllConfig) -> list[list[str]]:
    """The command line of each benchmark, with the options that it has."""
    quick = ["--quick"] if config.quick else []
    device = ["--device", config.device]
    data = ["--data", str(config.data.resolve())] if config.data is not None else []
    return [
        ["hotpath", *device, *quick],
        ["step", *device, *data, *quick],
        ["loader", *device, *data, *quick],
        ["packing", *quick],
        ["index", *quick],
        ["peers", *device, *data, *quick],
        ["scaling", *device, *quick],
        ["evaluation", *quick],
        ["waiting", *quick],
        ["multimodal", *device, *quick],
    ]


def _succeeds(words: Sequence[str]) -> bool:
    print(f"python -m benchmarks {' '.join(words)}", flush=True)
    return subprocess.run([sys.executable, "-m", "benchmarks", *words], check=False).returncode == 0
