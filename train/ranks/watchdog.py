"""What happens when one rank fails, is stopped or cannot be reached: all end soon, and the first error is shown once.

Without this, the others wait in a collective for a rank that is gone: half an hour with gloo, ten minutes with NCCL.
The ranks' own store, which brought them together, carries the news: the rank that fails first counts there first, and
each rank looks every second, and counts on there to say that it lives. Who has not been heard of for
``PATIENCE_SECONDS`` is lost: gone with its machine, behind a link that is cut, or stopped. A second thread ends this
process when the store itself has not answered for as long: who asks it may wait in the system for a quarter of an hour.
Where all stand still for as long inside collectives (:mod:`train.ranks.stillness`), a link between two of them is cut.
Free of torch until the ranks meet: a mistake in the arguments is told without it.
"""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import psutil

from shards.base.disk import AGAIN, refusal
from shards.base.errors import InputError
from train.ranks.place import leads_by
from train.ranks.silence import Silence
from train.ranks.stillness import Stillness

if TYPE_CHECKING:
    from train.ranks.world import World

PATIENCE_SECONDS = 40.0  # longer than any call keeps the interpreter to itself, and than a network takes to recover
T = TypeVar("T")
_FAILED, _BEATS, _STANDS, _PROCESS = "failed ranks", "beats", "stands", "process"  # in the store
_LOOK_SECONDS = 1.0
_LEAD_SECONDS = 4.0  # that the store outlives the failure of its own rank
_DOOR_SECONDS = 5.0
_IS_ENDING = threading.Event()  # this process, with a word of its own
_IS_FOLLOWING = threading.Event()  # this process, as another has failed
_HAS_SPOKEN = threading.Lock()  # taken by the thread that tells why
_ECHOES = ("peer", "NCCL", "ProcessGroup", "gloo", "Broken pipe", "Socket", "TCPStore")  # of a rank that has gone


class Watchdog:
    """Ends this process soon after any other rank has failed or was lost. Made on all ranks together, behind the
    process group. It works in threads of its own: a rank that writes a checkpoint, compiles or waits is alive.

    Args:
        patience: seconds without a sign of life after which a rank is lost.
    """

    def __init__(self, world: "World", *, patience: float = PATIENCE_SECONDS) -> None:
        self.world, self.patience = world, patience
        self._closed = threading.Event()
        self._num_answers = 0  # of the store
        self._processes: list[dict[str, Any]] = []  # of the ranks, once all have said who they are
        if world.size > 1:
            import torch.distributed as dist

            self._store = dist.distributed_c10d._get_default_store().clone()
            threading.Thread(target=self._listen, daemon=True).start()
            threading.Thread(target=self._watch_store, daemon=True).start()

    def close(self) -> None:
        """Waits until all ranks are here, which are then known to be well, and watches no longer."""
        self.world.barrier()
        self._closed.set()

    def _listen(self) -> None:
        """Says that this rank lives, and hears of the others."""
        ranks = range(self.world.size)
        beats, counts = [f"{_BEATS}/{rank}" for rank in ranks], [0 for _ in ranks]
        stands, told = [f"{_STANDS}/{rank}" for rank in ranks], 0  # milliseconds
        silence, stillness = _silence(self.world.size), Stillness(most=2 * _LOOK_SECONDS)
        try:
            for key in (_FAILED, *beats, *stands):
                self._store.add(key, 0)  # makes it: to ask for one that is absent is to wait
            self._store.set(f"{_PROCESS}/{self.world.rank}", json.dumps(_this_process()))
            while not self._closed.wait(_LOOK_SECONDS):
                self._store.add(beats[self.world.rank], 1)
                still = round(1000 * stillness.look())
                self._store.add(stands[self.world.rank], still - told)
                told = still
                num_failed, *found = map(int, self._store.multi_get([_FAILED, *beats, *stands]))
                now, still_for = found[: self.world.size], found[self.world.size :]
                self._num_answers += 1
                silence.look([rank for rank in ranks if now[rank] != counts[rank]], now=time.monotonic())
                counts = now
                if not self._processes:
                    self._processes = self._introduced()
                if num_failed:
                    self._follow(silence)
                if silence.longer_than(self.patience):
                    # What is lost together, as all ranks of a machine, is told together.
                    self._give_up(silence.longer_than(0.75 * self.patience))
                if min(still_for) > 1000 * self.patience:
                    self._give_up([])
        except RuntimeError:  # the store has gone, and with it rank 0
            if not self._closed.wait(_DOOR_SECONDS):
                _tell_gone(self.world.rank)
                _leave(self.world.rank)

    def _watch_store(self) -> None:
        """Ends this process when the store does not answer: :meth:`_listen` then waits for it, as others may."""
        silence, seen = _silence(1), 0
        while not self._closed.wait(_LOOK_SECONDS):
            answers = self._num_answers
            silence.look([0] if answers != seen else [], now=time.monotonic())
            seen = answers
            if silence.longer_than(self.patience):
                self._kill_stopped([0])
                if _speaks(self.world.rank):
                    self._tell_lost([0])
                _leave(self.world.rank)

    def _introduced(self) -> list[dict[str, Any]]:
        keys = [f"{_PROCESS}/{rank}" for rank in range(self.world.size)]
        return [json.loads(each) for each in self._store.multi_get(keys)] if self._store.check(keys) else []

    def _follow(self, silence: Silence) -> NoReturn:
        """Another rank has failed, and says why."""
        _IS_FOLLOWING.set()
        self._kill_stopped(silence.longer_than(0.5 * self.patience))
        _leave(self.world.rank)

    def _give_up(self, lost: list[int]) -> NoReturn:
        _IS_FOLLOWING.set()
        is_first = self._store.add(_FAILED, 1) == 1
        self._kill_stopped(lost)
        if is_first and lost:
            self._tell_lost(lost)
        elif is_first:
            machines = ", ".join(dict.fromkeys(each["machine"][0] for each in self._processes))
            _say(
                f"error: all {self.world.size} ranks have waited for one another for {self.patience:.0f} s, says rank "
                f"{self.world.rank}, though each reaches rank 0: a link between two machines is cut ({machines}). "
                "Repeat the command: it continues the run"
            )
        _leave(self.world.rank)

    def _tell_lost(self, lost: list[int]) -> None:
        who = ", ".join(
            f"rank {rank}" + (f" ({self._processes[rank]['machine'][0]})" if self._processes else "") for rank in lost
        )
        _say(
            f"error: no sign of life from {who} for {self.patience:.0f} s, says rank {self.world.rank}: the machine or "
            "the link to it is lost, or the process was stopped; the others stop. Repeat the command: it continues the "
            "run"
        )

    def _kill_stopped(self, ranks: list[int]) -> None:
        """Kills those that were stopped on this machine (SIGSTOP) and could not end by themselves."""
        own = _this_process()["machine"]
        for other in [self._processes[rank] for rank in ranks] if self._processes else []:
            if other["machine"] == own:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process = psutil.Process(other["pid"])
                    is_same = abs(process.create_time() - other["began"]) < 1.0
                    if is_same and process.status() == psutil.STATUS_STOPPED:
                        process.kill()


def _silence(number: int) -> Silence:
    return Silence(number, now=time.monotonic(), most=2 * _LOOK_SECONDS)


def _this_process() -> dict[str, Any]:
    from pipeline.ranks import machine

    return {"machine": list(machine()), "pid": os.getpid(), "began": psutil.Process().create_time()}


def is_ending() -> bool:
    """Whether this process is about to end, as a rank has failed: what else is asked of it is in vain."""
    return _IS_ENDING.is_set() or _IS_FOLLOWING.is_set()


def run_together(body: Callable[[], T]) -> T:
    """Runs ``body``, of which one rank may fail while others go on, and returns what it does.

    Raises:
        Exception: what ``body`` raises, with one process. With several, the first rank to fail prints its error, one
            line for an :class:`InputError`, and all processes end, with 2 for such an error and else 1.
    """
    try:
        return body()
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
    number = _count_failure(dist)
    if number is None and is_echo:
        _tell_gone(rank)
        os._exit(1)
    is_first = number in (1, None) and _HAS_SPOKEN.acquire(blocking=False)
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
    # The others look meanwhile, before the launcher sees that this process has ended and tells them to stop.
    time.sleep(_LEAD_SECONDS if rank == 0 else 1.5 * _LOOK_SECONDS)
    os._exit(status)  # an ordinary exit would wait for the collectives under way


def _count_failure(dist: Any) -> int | None:
    """How many ranks have failed, this one included; None where the store does not say so soon."""
    answers: list[int] = []

    def ask() -> None:
        with contextlib.suppress(RuntimeError):  # it has gone
            answers.append(dist.distributed_c10d._get_default_store().add(_FAILED, 1))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_DOOR_SECONDS)
    return answers[0] if answers else None


def _tell_gone(rank: int) -> None:
    if _speaks(rank):
        _say("error: rank 0 has ended without a word, killed perhaps")


def _speaks(rank: int) -> bool:
    """Whether this rank tells of the loss of the store, by which the ranks would agree on one: once a machine."""
    return rank == 1 or (rank > 0 and os.environ.get("LOCAL_RANK") == "0")


def _say(line: str) -> None:
    """The last word of this process. Standard error may go over the link that is cut: it is not waited for."""
    if not _HAS_SPOKEN.acquire(blocking=False):
        return
    thread = threading.Thread(target=os.write, args=(2, f"{line}\n".encode()), daemon=True)
    thread.start()
    thread.join(_LOOK_SECONDS)


def _leave(rank: int) -> NoReturn:
    """Ends this process from a thread, whatever its main thread waits for, unless that has a word of its own to say."""
    _IS_ENDING.wait(_LEAD_SECONDS if rank == 0 else _LOOK_SECONDS)
    if _IS_ENDING.is_set():
        time.sleep(_DOOR_SECONDS + 2 * _LEAD_SECONDS)
    os._exit(1)
