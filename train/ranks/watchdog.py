"""What happens when one rank fails: all end within seconds, and the first error is shown once.

Without this, the others wait in a collective for a rank that is gone: half an hour with gloo, ten minutes with NCCL.
The ranks' own store, which brought them together, carries the news: the rank that fails first counts there first, and
each rank looks every second. Free of torch until the ranks meet: a mistake in the arguments is told without it.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from shards.base.disk import AGAIN, refusal
from shards.base.errors import InputError
from train.ranks.place import leads_by

if TYPE_CHECKING:
    from train.ranks.world import World

_KEY = "failed ranks"
_LOOK_SECONDS = 1.0
_LEAD_SECONDS = 4.0  # that the store outlives the failure of its own rank
_DOOR_SECONDS = 5.0
_IS_ENDING = threading.Event()  # this process, with a word of its own
_ECHOES = ("peer", "NCCL", "ProcessGroup", "gloo", "Broken pipe", "Socket", "TCPStore")  # of a rank that has gone


class Watchdog:
    """Ends this process soon after any other rank has failed. Made on all ranks together, behind the process group."""

    def __init__(self, world: "World") -> None:
        import torch.distributed as dist

        self.world = world
        self._closed = threading.Event()
        if world.size > 1:
            self._store = dist.distributed_c10d._get_default_store().clone()
            threading.Thread(target=self._look, daemon=True).start()

    def close(self) -> None:
        """To be called before the ranks part, while all are known to be well."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            try:
                has_failed = self._store.check([_KEY])
            except RuntimeError:  # rank 0, where the store is, has gone without a word
                if not self._closed.wait(_LOOK_SECONDS):
                    _fall_silent(self.world.rank)
                return
            if has_failed:
                if not _IS_ENDING.wait(_LOOK_SECONDS):
                    os._exit(1)
                return


def run_together(body: Callable[[], None]) -> None:
    """Runs ``body``, of which one rank may fail while others go on.

    Raises:
        Exception: what ``body`` raises, with one process. With several, the first rank to fail prints its error, one
            line for an :class:`InputError`, and all processes end, with 2 for such an error and else 1.
    """
    try:
        body()
    except Exception as caught:
        error, dist = _mendable(caught), _group()
        if dist is None:
            if isinstance(error, InputError) and not leads_by():
                # Rank 0 says the same, and the launcher then stops this rank. If it still lives, it alone has failed.
                time.sleep(_DOOR_SECONDS)
            raise error from None
        if dist.get_world_size() == 1:
            raise error from None
        _end(error, dist)


def _group() -> Any:
    """``torch.distributed`` where the ranks have met."""
    torch = sys.modules.get("torch")
    return torch.distributed if torch is not None and torch.distributed.is_initialized() else None


def _mendable(error: Exception) -> Exception:
    """The error as one line, if a disk refuses a file, which any read or write may meet."""
    said = refusal(error)
    if said is None:
        return error
    return InputError(f"{said}; it continues the run" if said.remedy.endswith(AGAIN) else str(said))


def _end(error: Exception, dist: Any) -> NoReturn:
    _IS_ENDING.set()
    is_echo = isinstance(error, RuntimeError) and any(echo in str(error) for echo in _ECHOES)
    rank = dist.get_rank()
    if is_echo:
        time.sleep(2 * _LOOK_SECONDS)  # the rank that has failed may be about to speak
    try:
        is_first = dist.distributed_c10d._get_default_store().add(_KEY, 1) == 1
    except RuntimeError:
        _fall_silent(rank)
    sys.stdout.flush()
    status = 2 if isinstance(error, InputError) else 1
    if is_first and is_echo:
        print(f"error: a process has ended without a word, killed perhaps, says rank {rank}: {error}", file=sys.stderr)
    elif is_first and isinstance(error, InputError):
        print(f"error: {error}", file=sys.stderr)
    elif is_first:
        traceback.print_exception(error)
        print(f"error: rank {rank} has failed, as above; the others stop", file=sys.stderr)
    sys.stderr.flush()
    if rank == 0:
        time.sleep(_LEAD_SECONDS)
    os._exit(status)  # an ordinary exit would wait for the collectives under way


def _fall_silent(rank: int) -> NoReturn:
    if rank == 1:
        print("error: rank 0 has ended without a word, killed perhaps", file=sys.stderr, flush=True)
    os._exit(1)
