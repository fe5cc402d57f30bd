"""How long this process has stood still inside one collective: it computes nothing, and nothing arrives.

Ranks that all do so at once wait for one another in vain, though each may still reach the rank that keeps the store.
"""

import sys
import threading
import time
from pathlib import Path
from types import FrameType

import psutil

_COLLECTIVES = ("/torch/distributed/", "/deepspeed/comm/", "/train/ranks/stop.py")
_BUSY_BYTES = 100_000  # a second; a machine sends more while a collective goes on, however slow its network
_PATIENCE = 5.0  # as many times longer may one collective last while something travels


class Stillness:
    """Of the main thread, as another thread sees it.

    Args:
        most: seconds, as of :class:`train.ranks.silence.Silence`.
    """

    def __init__(self, *, most: float) -> None:
        self._main = threading.main_thread().ident or 0
        self._clock = time.pthread_getcpuclockid(self._main)
        self._most, self._now = most, time.monotonic()
        self._cpu_seconds, self._num_bytes = time.clock_gettime(self._clock), _bytes_moved()
        self._seconds = 0.0

    def look(self) -> float:
        """Seconds that the main thread has waited inside one collective; where something travels meanwhile on this
        machine's network, as if a fifth of the time had passed."""
        now, cpu_seconds, num_bytes = time.monotonic(), time.clock_gettime(self._clock), _bytes_moved()
        passed = min(now - self._now, self._most)
        is_busy = num_bytes - self._num_bytes > _BUSY_BYTES * passed
        stands = cpu_seconds == self._cpu_seconds and _is_in_collective(sys._current_frames().get(self._main))
        self._seconds = self._seconds + passed / (_PATIENCE if is_busy else 1.0) if stands else 0.0
        self._now, self._cpu_seconds, self._num_bytes = now, cpu_seconds, num_bytes
        return self._seconds


def _is_in_collective(frame: FrameType | None) -> bool:
    return frame is not None and any(part in Path(frame.f_code.co_filename).as_posix() for part in _COLLECTIVES)


def _bytes_moved() -> int:
    moved = psutil.net_io_counters()
    return 0 if moved is None else moved.bytes_sent + moved.bytes_recv
