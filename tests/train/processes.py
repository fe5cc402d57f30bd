"""Processes that are the ranks of one gloo group, without the launcher. Not a test by itself."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start_ranks(
    arguments: Sequence[str],
    *,
    size: int = 2,
    port: int | None = None,
    joins: bool = True,
    own: Sequence[Sequence[str]] = (),
) -> list["subprocess.Popen[str]"]:
    """Starts ``python ARGUMENTS`` once a rank.

    Args:
        joins: standard error goes with standard output.
        own: further arguments of each rank; default: none.
    """
    meeting = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port or free_port())}
    common = os.environ | meeting | {"OMP_NUM_THREADS": "1"}
    own = own or [()] * size
    return [
        subprocess.Popen(
            [sys.executable, *arguments, *own[rank]],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if joins else subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def run_ranks(script: Path, *arguments: str, size: int = 2, timeout: float = 120) -> None:
    """Runs a script on all ranks, which must end with 0."""
    processes = start_ranks([str(script), *arguments], size=size)
    outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * size, "\n".join(outputs)
