"""What each rank finds out before the run, told to all: they go on together or end together, with one line."""

import socket
from collections.abc import Callable
from typing import TypeVar

from pipeline.ranks import gather
from shards.base.errors import InputError
from train.ranks.world import World

T = TypeVar("T")
_NUM_FACTS = 3  # that the message names


def pass_together(check: Callable[[], T], world: World) -> T:
    """What ``check`` returns on this rank, once it has returned on all. All ranks call it together.

    Raises:
        InputError: on all ranks, where it was raised on any; with rank and machine where others have not failed alike.
    """
    if world.size == 1:
        return check()
    try:
        found, failure = [check()], ""
    except InputError as error:
        found, failure = [], str(error)
    everyone = gather((failure, socket.gethostname()))
    for rank, (failure, machine) in enumerate(everyone):
        if failure:
            is_alike = all(other == failure for other, _ in everyone)
            raise InputError(failure if is_alike else f"rank {rank} on {machine}: {failure}")
    return found[0]


def let_pass(check: Callable[[], object], world: World) -> None:
    """Lets the leading rank check, for all. All ranks call it together.

    Raises:
        InputError: on all ranks, where the leading rank raised it.
    """
    failure = ""
    if world.leads:
        try:
            check()
        except InputError as error:
            failure = str(error)
    if world.size > 1:
        failure = gather(failure)[0]
    if failure:
        raise InputError(failure)


def compare_facts(facts: dict[str, str], world: World) -> None:
    """Compares what is to be equal on all ranks. All ranks call it together.

    Args:
        facts: what is compared, by its name in words.

    Raises:
        InputError: on all ranks, naming what differs, with the values, ranks and machines.
    """
    if world.size == 1:
        return
    everyone = gather((facts, socket.gethostname()))
    first, its_machine = everyone[0]
    for rank, (others, machine) in enumerate(everyone):
        differing = [name for name in first | others if first.get(name) != others.get(name)]
        if differing:
            shown = "; ".join(
                f"{name} is {others.get(name, 'unknown')}, not {first.get(name, 'unknown')}"
                for name in differing[:_NUM_FACTS]
            )
            more = f" and {len(differing) - _NUM_FACTS} more" if len(differing) > _NUM_FACTS else ""
            raise InputError(
                f"rank {rank} on {machine}: differs from rank 0 on {its_machine}: {shown}{more}; give all ranks the "
                "same command, data and software"
            )
