"""What the processes above this one show of the command that started it."""

import argparse
import os
import sys
from pathlib import Path

import psutil

from shards.base.errors import InputError

_LAUNCH = "deepspeed.launcher.launch"  # what the deepspeed command starts on each machine; nobody types it


def own_arguments() -> list[str]:
    """The program and its arguments, without the ``--local_rank=N`` that a launcher has put there."""
    return [argument for argument in sys.argv if not argument.startswith(("--local_rank", "--local-rank"))]


def command_above() -> tuple[list[str], dict[str, str]] | None:
    """The launcher's command line as it was typed, and its environment; None where it is not above this process, as on
    other machines and under srun."""
    own, found = own_arguments()[1:], None
    for process in psutil.Process().parents():
        try:
            command = process.cmdline()
            if own and command[-len(own) :] == own:
                found = command, process.environ()
        except psutil.Error:
            continue
    return None if found is None or _LAUNCH in found[0] else found


def refuse_lost_hostfile() -> None:
    """Refuses what DeepSpeed only warns of: a hostfile that is not there, so that it starts on this machine alone.

    Raises:
        InputError: naming the file.
    """
    found = command_above()
    if found is None or int(os.environ.get("CROSS_SIZE", "1")) > 1:
        return
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-H", "--hostfile", type=Path)
    path = parser.parse_known_args(found[0])[0].hostfile
    if path is not None and not path.is_file():
        raise InputError(
            f"--hostfile {path}: no such file, and deepspeed would train on this machine alone; correct it, or leave "
            "it out"
        )
