"""``moco-cxr pretrain``: :mod:`train.pretrain` in this process, or in several of this machine."""

import sys
from pathlib import Path

import train.pretrain
from shards.base.errors import InputError
from train.ranks.place import launcher_of, read_place
from train.ranks.watchdog import run_together
from train.settings.command import parse_command

NUM_PROCESSES = "--num-processes"
"""The option, which is none of the recipes' own."""


def main() -> int | None:
    """Pretrains, as the arguments say; returns the exit status of several processes.

    Raises:
        InputError: a number of processes that is none, or given to a process that a launcher has started.
    """
    num_processes, arguments = _num_processes(sys.argv[1:])
    if num_processes is None:
        sys.argv[1:] = arguments
        return run_together(train.pretrain.main)
    launcher = launcher_of()
    if launcher in ("torchrun", "deepspeed") or read_place().size > 1:
        raise InputError(f"{NUM_PROCESSES} {num_processes}: {launcher} starts the processes here; leave the option out")
    asked = parse_command(arguments)
    with asked.spelling.spoken():
        config = train.pretrain.settled(asked, num_processes=num_processes)  # a mistake is told once, and at once
        if asked.dry_run:
            train.pretrain.rehearse(asked, config, num_processes=num_processes)
            return None
    from train.ranks.launch import run_processes

    return run_processes([str(Path(train.pretrain.__file__).resolve()), *arguments], num_processes)


def _num_processes(words: list[str]) -> tuple[int | None, list[str]]:
    """The number that is asked for, if any, and all other words."""
    number, rest = None, []
    given = iter(words)
    for word in given:
        name, equals, value = word.partition("=")
        if name not in (NUM_PROCESSES, NUM_PROCESSES.replace("-p", "_p")):
            rest.append(word)
            continue
        value = value if equals else next(given, "")
        if number is not None:
            raise InputError(f"{NUM_PROCESSES}: is given twice; give it once")
        if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 1024):
            raise InputError(
                f"{NUM_PROCESSES} {value}: must be a whole number from 1 to 1024, of processes on this machine"
            )
        number = int(value)
    return number, rest
