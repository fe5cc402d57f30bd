"""What the loader needs to know of its fellow ranks: who shares this machine, and what each of them has to say."""

import os
import socket
from typing import Any

import torch.distributed as dist

from shards.base.facts import boot_id


def have_met(world_size: int) -> bool:
    """There are several ranks, and they have a process group to talk through."""
    return world_size > 1 and dist.is_available() and dist.is_initialized()


def gather(value: Any) -> list[Any]:
    """Everyone's value, in rank order. Returns when all ranks have called it."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def machine() -> tuple[str, str | None, int]:
    """Equal for processes that see each other under /proc."""
    return socket.gethostname(), boot_id(), os.stat("/proc/self/ns/pid").st_ino


def num_own_cores(world_size: int) -> int:
    """This rank's share of the cores that it may run on: srun and mpirun give each rank its own, others all the same.
    All ranks call it together once they have met; before, those of a machine are taken to share its cores."""
    cores = os.sched_getaffinity(0)
    if have_met(world_size):
        here = machine()
        num_sharers = sum(place == here and bool(cores & theirs) for place, theirs in gather((here, cores)))
    else:
        num_sharers = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or world_size)
    return max(1, len(cores) // num_sharers)
