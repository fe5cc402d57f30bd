"""Locks of work that several processes and machines share in one folder: each has one holder at a time.

A lock is a file that names its holder, who touches it every few seconds and keeps the system's lock (``flock``) on it.
On the holder's own machine that lock tells at once that he has died, in whatever container he was; machines are known
by their boot, as several may bear one name. Of another machine only its silence counts: its lock is taken over once a
contender has seen the file untouched for a minute, by the contender's clock and whatever the file's date.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from shards.base.facts import boot_id

_BEAT_SECONDS = 5.0
_LEASE_SECONDS = 60.0
_POLL_SECONDS = 0.5
TELL_SECONDS = 10.0  # of waiting, before it is told for whom
_SKEW_SECONDS = 5.0
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)  # some network file systems


class Lock:
    """The lock ``path`` (ending in ``.lock``). A contender keeps one object: it knows how long the holder is silent."""

    def __init__(self, path: Path, *, beat: float = _BEAT_SECONDS, lease: float = _LEASE_SECONDS) -> None:
        self.path = path
        self._beat = beat
        self._patience = lease + beat
        self._written: bytes | None = None  # what the file says that this object holds, or has held
        self._seen: tuple[tuple[int, int], float] | None = None  # inode and time of the last touch, and since when

    @contextlib.contextmanager
    def try_hold(self) -> Iterator[bool]:
        """Takes the lock if it is free, and says whether it was; frees it behind the block."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = self._take()
        if descriptor is None:
            yield False
            return
        ended = threading.Event()
        heart = threading.Thread(target=_touch_until, args=(ended, descriptor, self._beat), daemon=True)
        heart.start()
        try:
            yield True
        finally:
            ended.set()
            heart.join()
            with contextlib.suppress(FileNotFoundError):
                if _touch(self.path.stat()) == _touch(os.fstat(descriptor)):
                    self.path.unlink()
            os.close(descriptor)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Waits until the lock is free, and takes it; frees it behind the block. A wait of seconds is told on standard
        error."""
        begin, is_told = time.monotonic(), False
        while True:
            with self.try_hold() as is_held:
                if is_held:
                    yield
                    return
            if not is_told and time.monotonic() - begin > TELL_SECONDS:
                print(f"waiting: {self.held_by()}", file=sys.stderr, flush=True)
                is_told = True
            pause()

    def held_by(self) -> str:
        """Who has the lock, in words for somebody who waits for it."""
        try:
            who, touched = self.holder(), self.path.stat().st_mtime
        except FileNotFoundError:
            return f"{self.path} is free"
        ahead = touched - time.time()
        skew = f", whose date is {ahead:,.0f} s ahead of the clock here," if ahead > _SKEW_SECONDS else ""
        return f"{who} has {self.path}{skew} and loses it when he has been silent for {self._patience:.0f} s"

    def holder(self) -> str:
        """Who has the lock, such as ``process 7 of HOST``.

        Raises:
            FileNotFoundError: nobody.
        """
        found = _holder(self.path.read_bytes())
        return f"process {found['pid']} of {found['host']}" if found else "somebody unknown"

    def is_lost(self) -> bool:
        """Whether another has taken over what this object holds, as from a process that was suspended for a minute, and
        has perhaps freed it since. Whoever holds a lock for longer than its lease asks before each write."""
        try:
            return self.path.read_bytes() != self._written
        except FileNotFoundError:
            return True

    def _take(self) -> int | None:
        """The open file of the lock, made now; None where another has it."""
        for _ in range(2):
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                if not self._remove_abandoned():
                    return None
                continue
            try:
                holder = {"host": socket.gethostname(), "boot": None, "pid": os.getpid(), "turn": uuid.uuid4().hex}
                if _try_flock(descriptor):  # only then its being free means something; before the name is written
                    holder["boot"] = boot_id()
                self._written = json.dumps(holder).encode()
                os.write(descriptor, self._written)
            except BaseException as error:
                self.path.unlink()
                os.close(descriptor)
                if isinstance(error, OSError) and error.filename is None:  # who tells of it names the file
                    error.filename = str(self.path)
                raise
            return descriptor
        return None

    def _remove_abandoned(self) -> bool:
        """Removes the lock of a holder who has died here, or was silent for too long, and says whether it did."""
        mode = "r+b" if os.access(self.path, os.W_OK) else "rb"  # NFS locks no file that is open to read alone
        with contextlib.suppress(FileNotFoundError), self.path.open(mode) as file:  # asks a shared disk's server anew
            touch = _touch(os.fstat(file.fileno()))
            if _is_of_this_machine(_holder(file.read())) and _try_flock(file.fileno()):
                if _touch(self.path.stat()) == touch:  # under its own lock nobody replaces it
                    self.path.unlink()
                return True
            if self._seen is None or self._seen[0] != touch:
                self._seen = touch, time.monotonic()
            elif time.monotonic() - self._seen[1] > self._patience:
                return self._bury(touch)
            return False
        return True

    def _bury(self, touch: tuple[int, int]) -> bool:
        """Removes the lock; another's that came in between is put back."""
        grave = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:12]}.dead")
        self.path.rename(grave)
        is_dead = _touch(grave.stat()) == touch
        if not is_dead:
            with contextlib.suppress(FileExistsError):
                os.link(grave, self.path)
        grave.unlink()
        return is_dead


def pause() -> None:
    """Between two looks at locks that others hold."""
    time.sleep(_POLL_SECONDS)


def _holder(content: bytes) -> dict[str, object] | None:
    """What a lock says of its holder; None where that is not yet written, or of another program."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"host", "boot", "pid"} <= set(found) else None


def _is_of_this_machine(holder: dict[str, object] | None) -> bool:
    boot = boot_id()
    return holder is not None and boot is not None and (holder["boot"], holder["host"]) == (boot, socket.gethostname())


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (*_NO_FLOCK, errno.EBADF, errno.EACCES):
            raise
        return False
    return True


def _touch_until(ended: threading.Event, descriptor: int, seconds: float) -> None:
    while not ended.wait(seconds):
        with contextlib.suppress(OSError):  # a shared disk may be away for a moment; contenders wait longer
            os.utime(descriptor)


def _touch(found: os.stat_result) -> tuple[int, int]:
    return found.st_ino, found.st_mtime_ns
