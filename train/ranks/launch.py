"""Several processes on this machine without a launcher's own words, and with an exit status that tells how they ended.

Each finds its place by the variables that torchrun sets. A signal to this process is passed on to all, which agree on
when to stop (:mod:`train.ranks.stop`); where this process is gone, they stop as well; where one fails, the others end
by themselves (:mod:`train.ranks.watchdog`), or are ended.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from train.ranks.place import Place

ASKED_BY = "MOCO_CXR_ASKED_BY"
"""The environment variable with the number of the process that has started the ranks, or the ``deepspeed`` command, if
the ranks are to stop when it is gone; a shell, for one, may go before its command."""
_ROOT = Path(__file__).parents[2]
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 60.0  # with those that are left when one has failed


def run_processes(
    program: Sequence[str],
    num_processes: int,
    *,
    environment: Mapping[str, str] = os.environ,
    is_quiet: bool = False,
) -> int:
    """Runs a Python program (a file, or ``-m`` and a module, and its arguments) in so many processes, and waits. They
    import what this process has imported, whatever lies in the folder.

    Args:
        is_quiet: only what the processes say on standard error is shown.

    Returns:
        0 where all have ended with 0; else the status of the one that failed first, 128 and the number of a signal that
        has ended it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [str(_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    ours = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", ASKED_BY: str(os.getpid())}
    stdout = subprocess.DEVNULL if is_quiet else None
    processes: list[subprocess.Popen[bytes]] = []
    with _passed_on(processes):
        for rank in range(num_processes):
            place = Place(
                launcher="python",
                rank=rank,
                size=num_processes,
                local_rank=rank,
                local_size=num_processes,
                master_port=port,
            )
            whole = {"TORCH_CPP_LOG_LEVEL": "ERROR", **environment, **place.variables(), **ours}
            processes.append(subprocess.Popen([sys.executable, *program], env=whole, stdout=stdout))
        return _wait(processes)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    failed, deadline = 0, None
    while True:
        statuses = [process.poll() for process in processes]
        failed = failed or next((status for status in statuses if status), 0)
        if None not in statuses:
            return 128 - failed if failed < 0 else failed
        if failed and deadline is None:
            deadline = time.monotonic() + _PATIENCE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(_POLL_SECONDS)


@contextmanager
def _passed_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Signals that ask to stop go to the processes. Those of a terminal reach them as well, which they take for one."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:  # only where one could not be started
                process.kill()
                process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
