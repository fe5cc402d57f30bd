"""Stopping a run on request: SIGTERM, SIGINT or SIGUSR1, on any rank, stops all of them at the same step. By
SIGUSR1, as Slurm can send it ahead of a job's end, the run is to go on later, which its exit code tells.

A signal is noticed at once by a thread, also while the main thread is inside a kernel or a collective. At each step the
ranks exchange one number on a CPU group of their own, without waiting: what was exchanged at one step is read at the
next. So a run stops one or two steps behind the signal, and no step waits for the device.

The ``deepspeed`` launcher, as of 0.19: on Ctrl-C it sends each rank SIGTERM behind the terminal's SIGINT, one rank
after the other, and SIGKILL after 30 seconds; then it exits with 1 whatever the ranks exit with. A SIGTERM to the
``deepspeed`` command itself ends only that one process, so a rank takes the loss of it as a request to stop.
"""

import os
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as dist

from train.ranks.again import continuing_command
from train.ranks.launch import ASKED_BY
from train.ranks.watchdog import is_ending
from train.ranks.world import World

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_STOP, _LATER = 1, 2
_AGAIN_SECONDS = 1.0  # a launcher may pass on one request twice within this
_LAUNCHER_PATIENCE_SECONDS = 20.0  # DeepSpeed's launcher kills after 30


class Stop:
    """Whether someone asked this run to stop. Made on all ranks together, in the main thread.

    The same signal once more, a second or more later, ends the process at once, as does a rank that hangs for 20
    seconds behind a signal under the launcher: another rank has failed then, and this one waits for it in vain.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.continuing = continuing_command(world)  # while the launcher, whose command it is, lives
        """The command line that goes on with the run."""
        self.goes_on_later = False
        """Whether the ranks, which have agreed to stop, are to be started again."""
        self._asked = 0
        self._group: Any = dist.new_group(backend="gloo") if world.size > 1 else None
        self._pending: dist.Work | None = None
        self._flag = np.zeros(1, dtype=np.int32)  # read without a call on a tensor
        self._launcher = _launcher()
        self._receive, self._send = os.pipe()
        os.set_blocking(self._send, False)
        self._before_fd = signal.set_wakeup_fd(self._send, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _noted) for number in _SIGNALS}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def agreed(self) -> bool:
        """Whether all ranks are to stop at this step. All call it once a step; all get the same answer."""
        if self._group is None:
            self.goes_on_later = self._asked == _LATER
            return bool(self._asked)
        if self._pending is not None:
            self._pending.wait()
            if self._flag[0]:
                self._pending, self.goes_on_later = None, bool(self._flag[0] == _LATER)
                return True
        self._flag[0] = self._asked
        self._pending = dist.all_reduce(
            torch.from_numpy(self._flag), dist.ReduceOp.MAX, group=self._group, async_op=True
        )
        return False

    def close(self) -> None:
        """Gives the signals back their former meaning. All ranks call it together."""
        if self._pending is not None:
            self._pending.wait()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        os.write(self._send, b"\0")
        self._thread.join()
        os.close(self._send)
        os.close(self._receive)

    def _listen(self) -> None:
        came: dict[int, float] = {}
        while True:
            ready, _, _ = select.select([self._receive], [], [], 1.0)
            now = time.monotonic()
            for number in os.read(self._receive, 64) if ready else b"":
                if not number:
                    return
                if number not in self._before:  # such as SIGCHLD, for which others have a handler
                    continue
                if now - came.setdefault(number, now) > _AGAIN_SECONDS:
                    os._exit(128 + number)
                if number == signal.SIGUSR1:
                    told = f"finishing the step, writing a checkpoint and exiting with {os.EX_TEMPFAIL}"
                    self._ask(f"asked to go on later: {told}", _LATER)
                    continue
                self._ask("asked to stop: finishing the step and writing a checkpoint; once more ends at once")
            if self._launcher is not None and not self._launcher.lives():
                self._ask("the launcher has gone: finishing the step and writing a checkpoint")
            if came and self._launcher is not None and now - min(came.values()) > _LAUNCHER_PATIENCE_SECONDS:
                os._exit(1)

    def _ask(self, message: str, asked: int = _STOP) -> None:
        if not self._asked and self.world.leads and not is_ending():
            begin = "\n" if sys.stderr.isatty() else ""  # below the bar
            print(f"{begin}{message}", file=sys.stderr, flush=True)
        self._asked = max(self._asked, asked)


class _Launcher:
    """The ``deepspeed`` command above this rank: a process that started the process that started this one. Where that
    command was started by a program of ours, which says so by ``ASKED_BY``, that program as well; or that program
    alone, where it has started this rank."""

    def __init__(self, process: psutil.Process, asked_by: int | None) -> None:
        self.process, self.above, self.asked_by = process, process.ppid(), asked_by

    def lives(self) -> bool:
        try:
            if os.getppid() != self.process.pid or self.asked_by == self.process.pid:
                return os.getppid() == self.process.pid
            return self.process.ppid() == self.above and self.asked_by in (None, psutil.Process(self.above).ppid())
        except psutil.Error:
            return False


def _launcher() -> _Launcher | None:
    asked_by = os.environ.get(ASKED_BY)
    try:
        parent = _Launcher(psutil.Process(os.getppid()), None if asked_by is None else int(asked_by))
        is_deepspeed = "deepspeed.launcher.launch" in " ".join(parent.process.cmdline())
    except psutil.Error:
        return None
    return parent if is_deepspeed or parent.asked_by == parent.process.pid else None


def _noted(number: int, frame: FrameType | None) -> None:
    """The thread has been told; without a handler the signal would end the process."""
