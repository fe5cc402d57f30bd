"""Locks of work that several processes and machines share in one folder: each has one holder at a time.

A lock is a lease of ``filelock``: a file that names its holder, who touches it every few seconds. The lock of a process
that was killed is taken over at once on its own machine; that of a machine that is gone, once a contender has seen the
file untouched for a minute by its own clock, as the clocks of two machines need not agree.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import SoftFileLease, Timeout

_BEAT_SECONDS = 5.0
_LEASE_SECONDS = 60.0
_POLL_SECONDS = 0.5


class Lock:
    """The lock ``path`` (ending in ``.lock``). A contender keeps one object: it knows how long the holder is silent."""

    def __init__(self, path: Path, *, beat: float = _BEAT_SECONDS, lease: float = _LEASE_SECONDS) -> None:
        self.path = path
        self._lease = SoftFileLease(path, lease_duration=lease, heartbeat_interval=beat)
        self._patience = lease + beat
        self._seen: tuple[tuple[int, int], float] | None = None  # inode and time of the last touch, and since when

    @contextlib.contextmanager
    def try_hold(self) -> Iterator[bool]:
        """Takes the lock if it is free, and says whether it was; frees it behind the block."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lease.acquire(blocking=False)
        except Timeout:
            self._remove_abandoned()
            yield False
            return
        try:
            yield True
        finally:
            self._lease.release()

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Waits until the lock is free, and takes it; frees it behind the block."""
        while True:
            with self.try_hold() as is_held:
                if is_held:
                    yield
                    return
            pause()

    def _remove_abandoned(self) -> None:
        """Removes a dead lock that ``filelock`` leaves standing: on a file system that cannot swap two names, as NFS,
        or because its holder died before it had written its name. A living one that came in between is put back."""
        with contextlib.suppress(FileNotFoundError):
            with self.path.open("rb") as file:  # opening it is what asks the server of a shared disk anew
                touch = _touch(os.fstat(file.fileno()))
            if self._seen is None or self._seen[0] != touch:
                self._seen = touch, time.monotonic()
            elif time.monotonic() - self._seen[1] > self._patience:
                grave = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:12]}.dead")
                self.path.rename(grave)
                if _touch(grave.stat()) != touch:
                    with contextlib.suppress(FileExistsError):
                        os.link(grave, self.path)
                grave.unlink()


def pause() -> None:
    """Between two looks at locks that others hold."""
    time.sleep(_POLL_SECONDS)


def _touch(found: os.stat_result) -> tuple[int, int]:
    return found.st_ino, found.st_mtime_ns
