"""Who computes a cell, when several processes or machines share a folder: the one that holds its lock file.

A lock is a file that only one can create. Its holder touches it every few seconds, so that the lock of a process that
was killed, or of a machine that is gone, is known by its age and taken over. The age is read from the clock of the
file system alone: those of two machines need not agree.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
_POLL_SECONDS = 0.5


@contextlib.contextmanager
def claimed(path: Path, *, beat: float = BEAT_SECONDS, stale: float = STALE_SECONDS) -> Iterator[bool]:
    """Tries to take the lock ``path`` (ending in ``.lock``) and says whether it was free; frees it behind the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex})
    if not _create(path, content):
        abandoned = _abandoned(path, stale)
        if abandoned is None or not _take_over(path, content, abandoned):
            yield False
            return
    ended = threading.Event()
    heart = threading.Thread(target=_touch_until, args=(path, ended, beat), daemon=True)
    heart.start()
    try:
        yield True
    finally:
        ended.set()
        heart.join()
        if _read(path) == content:  # not one that somebody took over while this process was suspended
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def claimed_in_turn(path: Path) -> Iterator[None]:
    """Waits until the lock is free, and takes it."""
    while True:
        with claimed(path) as is_mine:
            if is_mine:
                yield
                return
        time.sleep(_POLL_SECONDS)


def wait_for_any(seconds: float = _POLL_SECONDS) -> None:
    """The pause between two looks at cells that others are computing."""
    time.sleep(seconds)


def _create(path: Path, content: str) -> bool:
    try:
        with path.open("x") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _abandoned(path: Path, stale: float) -> str | None:
    """What the lock says, if its holder is gone."""
    try:
        text, touched = path.read_text(), path.stat().st_mtime
    except FileNotFoundError:
        return None  # freed just now: the next look will tell
    with contextlib.suppress(json.JSONDecodeError):  # being written, or its writer died while it was
        holder = json.loads(text)
        if holder["host"] == socket.gethostname() and not _is_alive(holder["pid"]):
            return text
    return text if _now_by(path.parent) - touched > stale else None


def _take_over(path: Path, content: str, abandoned: str) -> bool:
    """Removes a dead lock and takes it. Of several that try, one can rename the dead file; the others find none, or
    the one that the first has made, which they put back."""
    grave = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.dead")
    try:
        path.rename(grave)
    except FileNotFoundError:
        return False
    is_dead = _read(grave) == abandoned
    if not is_dead:
        with contextlib.suppress(FileExistsError):
            os.link(grave, path)
    grave.unlink()
    return is_dead and _create(path, content)


def _now_by(folder: Path) -> float:
    """The time as the folder's file system has it."""
    probe = folder / f"{uuid.uuid4().hex[:12]}.clock"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _touch_until(path: Path, ended: threading.Event, beat: float) -> None:
    while not ended.wait(beat):
        with contextlib.suppress(OSError):
            os.utime(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
