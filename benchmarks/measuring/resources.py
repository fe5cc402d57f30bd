"""What a process and its children use: processor time and memory, as the kernel counts them (Linux)."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one variant takes, measured in a process of its own. MB are 2**20 bytes.

    Memory is what the kernel cannot drop, over the process and its children: anonymous pages and shared memory, pages
    that several processes share counted once (``Pss_Anon`` + ``Pss_Shmem``). Mapped files, so program code and the page
    cache of shards, are left out. It includes what the imports take, some 300 to 500 MB.
    """

    wait_share: float
    """Share of the time that a consumer of ``consumer`` images/s waits, from the second batch of a pass on."""
    consumer: float
    """Images per second that the consumer takes while it is not waiting; it sleeps, as a GPU's step looks to the
    host."""
    peak_megabytes: float
    """Highest memory after the first batch, sampled every 20 ms."""
    pass_megabytes: tuple[float, ...]
    """Memory after each pass over the images, in the same process."""
    first_batch_seconds: float
    """From building the loader, with everything imported, to its first batch."""
    device_megabytes: float | None = None
    """The device's memory in use after the third pass, by whichever process; none on a CPU."""


def cpu_seconds() -> float:
    """User and system time of this process and all its descendants, also those that have ended and were waited for.

    Its own is counted in nanoseconds, the children's in ticks of 10 ms.
    """
    ended = os.times()
    running = sum(map(_seconds, descendants(os.getpid())))
    return time.process_time() + ended.children_user + ended.children_system + running


def descendants(pid: int) -> list[int]:
    """Children of a process, their children, and so on."""
    found = []
    for child in _children(pid):
        found += [child, *descendants(child)]
    return found


def held_megabytes(pid: int) -> float:
    """Memory that cannot be dropped, of a process and its descendants, as in :class:`Resources`."""
    return sum(_held_kilobytes(one) for one in (pid, *descendants(pid))) / 1024


class MemoryPeak:
    """Samples the memory of a process and its descendants in a thread, from ``start`` to ``stop``."""

    def __init__(self, pid: int, *, interval: float = 0.02) -> None:
        self.megabytes = 0.0
        self._pid, self._interval = pid, interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)

    def start(self) -> None:
        """Begins to sample."""
        self._thread.start()

    def stop(self) -> float:
        """Ends sampling and returns the highest figure, in MB."""
        self._stop.set()
        self._thread.join()
        return self.megabytes

    def _sample(self) -> None:
        while not self._stop.wait(self._interval):
            self.megabytes = max(self.megabytes, held_megabytes(self._pid))


def _children(pid: int) -> Iterator[int]:
    """Children of any thread: a worker belongs to the thread that forked it. Sampled every 20 ms, hence without psutil,
    which looks through all processes of the machine."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            yield from map(int, path.read_text().split())
        except OSError:  # the thread has ended
            continue


def _seconds(pid: int) -> float:
    """Processor time of a process and of its children that ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:  # it has ended
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _held_kilobytes(pid: int) -> int:
    """Not by psutil, whose figures have mapped files in them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
