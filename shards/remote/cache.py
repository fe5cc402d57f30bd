"""The cache of shards that came from elsewhere, shared by all processes of a machine.

    CACHE/ADDRESS/latest                       the digest that was served last, for work without a connection
    CACHE/ADDRESS/DIGEST/dataset.json, *.tar   one packing of the dataset at that address

Locks are ``flock`` locks, which the system lets go of when their holder ends, however it ends:
- on ``NAME.lock``, exclusive: this process fetches NAME; others wait and then find it.
- on a shard itself, shared: a read-ahead still needs it, so it is not evicted.
"""

import contextlib
import fcntl
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from shards.base.errors import InputError
from shards.base.words import as_size
from shards.format.manifest import MANIFEST
from shards.remote.transfer import Patience, Stopped

FOLDER_VARIABLE = "MOCO_CXR_CACHE"
BYTES_VARIABLE = "MOCO_CXR_CACHE_BYTES"
PART_SUFFIX = ".part"
FREE_SHARE = 0.05
_POLL_SECONDS = 0.05
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Where fetched shards are kept, and how many bytes of them.

    ``num_bytes`` is kept to by evicting the shards that were opened longest ago; None: as many as leave 5 % of the disk
    free. It is passed, with a warning, only where all else is needed by read-aheads at the moment.
    """

    folder: Path
    num_bytes: int | None = None
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def at(cls, folder: str | Path | None = None, num_bytes: int | None = None) -> Self:
        """The cache in ``folder``; default: that of ``MOCO_CXR_CACHE``, else ``~/.cache/moco-cxr``. The default of
        ``num_bytes`` is ``MOCO_CXR_CACHE_BYTES`` (``50G``, say), else None.

        Raises:
            InputError: a number of bytes that is none, or not above 0; no home to have a folder in.
        """
        place = folder or os.environ.get(FOLDER_VARIABLE) or _home_cache()
        text = os.environ.get(BYTES_VARIABLE, "")
        if num_bytes is None and text:
            found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
            if found is None:
                raise InputError(f"{BYTES_VARIABLE} {text!r}: not a number of bytes; give one such as 50G")
            num_bytes = int(float(found[1]) * _UNITS[found[2]])
        if num_bytes is not None and num_bytes <= 0:
            raise InputError(f"cache bytes {num_bytes}: must be above 0")
        return cls(folder=Path(place), num_bytes=num_bytes)

    def capacity(self) -> int:
        """Bytes of shards that it can hold."""
        if self.num_bytes is not None:
            return self.num_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        disk = shutil.disk_usage(self.folder)
        held = sum(item.kept for item in self._items())
        return max(0, held + disk.free - int(FREE_SHARE * disk.total))

    def part(self, path: Path, size: int) -> Path:
        """The file beside ``path`` that holds what has come of its ``size`` bytes; made, with room for all of it.

        Raises:
            InputError: there is no room, though what can be evicted was.
        """
        part = path.with_name(f"{path.name}.{size}{PART_SUFFIX}")
        with locked(self.folder / "room.lock"):
            for other in path.parent.glob(f"{path.name}.*{PART_SUFFIX}"):
                if other != part:
                    other.unlink()
            self._make_room(part, size)
            part.touch()
        return part

    def _make_room(self, part: Path, size: int) -> None:
        items = [item for item in self._items() if item.path != part]
        disk = shutil.disk_usage(self.folder)
        present = part.stat().st_size if part.exists() else 0
        to_come = size - present + sum(item.bytes - item.kept for item in items)
        if self.num_bytes is None:
            excess = to_come + int(FREE_SHARE * disk.total) - disk.free
        else:
            excess = max(size + sum(item.bytes for item in items) - self.num_bytes, to_come - disk.free)
        for item in sorted(items, key=lambda item: item.used):
            if excess > 0 and _evict(item.path):
                excess -= item.bytes
        if excess <= 0:
            return
        if self.num_bytes is None or disk.free < to_come or size > self.num_bytes:
            limit = "5 % of it stay free" if self.num_bytes is None else f"its limit is {as_size(self.num_bytes)}"
            needed = as_size(size, least="kB")
            raise InputError(
                f"cache {self.folder}: no room for {needed} more, its disk has {as_size(disk.free)} free and "
                f"{limit}; free some, or name another folder by {FOLDER_VARIABLE} or limit by {BYTES_VARIABLE}"
            )
        _log.warning("cache %s: %s above its limit; all of it is in use", self.folder, as_size(excess))

    def _items(self) -> list["_Item"]:
        items: dict[Path, _Item] = {}
        for pattern in (f"*/*/*{PART_SUFFIX}", "*/*/*.tar"):  # a part that becomes whole meanwhile is seen as either
            for path in self.folder.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    found = path.stat()
                    whole, final = path, found.st_size
                    if path.suffix == PART_SUFFIX:
                        size = path.suffixes[-2][1:]
                        if path.name.startswith(MANIFEST) or not size.isdigit():
                            continue  # a small file on its way under another name
                        whole, final = _whole(path), int(size)
                    items[whole] = _Item(path=path, bytes=final, kept=found.st_size, used=found.st_mtime)
        return list(items.values())


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A shard in the cache, or the part of one: its bytes in the end and now, when it was last opened."""

    path: Path
    bytes: int
    kept: int
    used: float


def _home_cache() -> Path:
    try:
        return Path.home() / ".cache" / "moco-cxr"
    except RuntimeError:  # no HOME, and a user whom the system does not know, as in a container
        raise InputError(
            f"{FOLDER_VARIABLE}: not set, and this user has no home; name a folder for the cache"
        ) from None


def lock_of(path: Path) -> Path:
    """The file whose lock a process holds that fetches ``path``."""
    return path.with_name(f"{path.name}.lock")


def _whole(part: Path) -> Path:
    """The file that a part becomes."""
    return part.with_suffix("").with_suffix("")


@contextlib.contextmanager
def locked(path: Path, stop: threading.Event | None = None) -> Iterator[None]:
    """Holds the exclusive lock of a file, which is made if need be; waits for it, or raises ``Stopped`` on ``stop``."""
    with path.open("ab") as file:
        while not _try_lock(file.fileno(), fcntl.LOCK_EX):
            if stop is None:
                fcntl.flock(file, fcntl.LOCK_EX)
                break
            if stop.wait(_POLL_SECONDS):
                raise Stopped
        yield


def share(descriptor: int) -> bool:
    """Keeps an open shard from being evicted, until :func:`unshare` or it is closed; False if that came too late."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return os.fstat(descriptor).st_nlink > 0


def unshare(descriptor: int) -> None:
    """Allows an open shard to be evicted."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _evict(path: Path) -> bool:
    """Removes a shard that no read-ahead needs, or the part of one that nobody fetches."""
    guard = lock_of(_whole(path)) if path.suffix == PART_SUFFIX else path
    try:
        with guard.open("rb") as file:
            if not _try_lock(file.fileno(), fcntl.LOCK_EX):
                return False
            path.unlink()
    except FileNotFoundError:
        return False
    return True
