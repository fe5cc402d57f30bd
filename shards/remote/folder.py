"""``RemoteFolder``: a dataset folder elsewhere, whose files come into the local cache when they are first opened.

A file is whole, with the size and SHA-256 that ``dataset.json`` says, or not there. What a killed process had fetched
of one is gone on with. Expect the speed of the line: checking takes 1 s per GB or less.
"""

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from shards.base.atomic import atomic_write
from shards.base.bar import Bar
from shards.base.disk import refusal
from shards.base.errors import InputError
from shards.format.manifest import MANIFEST, Checksum, digest_holds, read_manifest
from shards.remote.address import Address
from shards.remote.cache import Cache, lock_of, locked, share, unshare
from shards.remote.transfer import Source, Unreachable

_TRIES_WITH_A_COPY = 3
_SHOW_AFTER_SECONDS = 1.0
OnBytes = Callable[[int], object]
_log = logging.getLogger(__name__)


class RemoteFolder:
    """One packing of the dataset at an address; ``folder`` is its place in the cache. Open with :meth:`open`."""

    def __init__(self, source: Source, cache: Cache, folder: Path) -> None:
        self.source, self.cache, self.folder = source, cache, folder
        self._files: Mapping[str, Checksum] = read_manifest(folder)["files"]

    @classmethod
    def open(cls, address: Address, cache: Cache) -> "RemoteFolder":
        """The dataset as it is served now or, where its server cannot be reached, as it was served last.

        Raises:
            InputError: there is no dataset, it cannot be had, or it is damaged.
        """
        source = Source(address, cache.patience)
        home = cache.folder / address.slug
        latest = home / "latest"
        known = home / latest.read_text().strip() if latest.is_file() else None
        if known is not None and not (known / MANIFEST).is_file():
            known = None
        asking = source
        if known is not None:
            tries = min(_TRIES_WITH_A_COPY, cache.patience.tries)
            asking = Source(address, replace(cache.patience, tries=tries))
        try:
            text = asking.read(MANIFEST, threading.Event())
        except Unreachable:
            if known is None:
                raise
            when = datetime.fromtimestamp(latest.stat().st_mtime)
            _log.warning("dataset %s: cannot be reached; using the copy of %s", address, f"{when:%Y-%m-%d %H:%M}")
            return cls(source, cache, known)
        with _writing(cache):
            folder = home / hashlib.sha256(text).hexdigest()[:16]
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(folder / MANIFEST, text)
            if not digest_holds(folder):
                raise InputError(
                    f"dataset {address}: its {MANIFEST} is damaged or of an older version; pack it again, or copy it "
                    "there again"
                )
            atomic_write(latest, folder.name)
        return cls(source, cache, folder)

    def __str__(self) -> str:
        return str(self.source.address)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return int(self._checksum(name)["bytes"])

    def has(self, name: str) -> bool:
        """Whether a file is in the cache."""
        return (self.folder / name).is_file()

    def open_file(
        self,
        name: str,
        *,
        held: bool = False,
        stop: threading.Event | None = None,
        on_bytes: OnBytes | None = None,
    ) -> BinaryIO:
        """A file, open to read; fetched if it is not in the cache.

        Args:
            held: it is not evicted until ``unshare`` or it is closed.
            stop: gives the transfer up when it is set, with ``Stopped``.
            on_bytes: called with each number of bytes that came; default: a bar on stderr, if it takes over a second.

        Raises:
            InputError: it cannot be had, or is not what ``dataset.json`` says, though it was fetched twice.
        """
        path, size = self.folder / name, self.size(name)
        while True:
            with contextlib.suppress(FileNotFoundError):
                file = path.open("rb")
                if os.fstat(file.fileno()).st_size != size:
                    path.unlink()
                elif not held or share(file.fileno()):
                    os.utime(path)  # it is the last to be evicted now
                    return file
                file.close()
            with _writing(self.cache), locked(lock_of(path), stop):
                if not path.is_file():
                    with _bar(self, name, size, on_bytes) as count:
                        fetched = self._fetch(path, stop or threading.Event(), count)
                    if not held:
                        unshare(fetched.fileno())
                    return fetched

    def _checksum(self, name: str) -> Checksum:
        if name not in self._files or Path(name).name != name:
            raise InputError(f"dataset {self}: its {MANIFEST} lists no file {name}; copy it there again")
        return self._files[name]

    def _fetch(self, path: Path, stop: threading.Event, on_bytes: OnBytes) -> BinaryIO:
        """Brings a file into the cache, and returns it open and held."""
        wanted = self._checksum(path.name)
        size = int(wanted["bytes"])
        part = self.cache.part(path, size)
        for _ in range(2):
            if self._fill(part, path.name, size, stop, on_bytes) == wanted["sha256"]:
                file = part.open("rb")
                share(file.fileno())  # before it has the name under which it could be evicted
                part.replace(path)
                return file
            part.unlink()
            _log.warning("%s/%s: has other bytes than its dataset.json says; fetching it again", self, path.name)
            part.touch()
        part.unlink()
        raise InputError(
            f"{self}/{path.name}: has other bytes (SHA-256) than its {MANIFEST} says, twice; it is damaged there or "
            "was packed anew: open the dataset again, or copy it there again"
        )

    def _fill(self, part: Path, name: str, size: int, stop: threading.Event, on_bytes: OnBytes) -> str:
        """Fetches what ``part`` lacks, and returns the SHA-256 of all."""
        with part.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256")
            start = file.tell()
            on_bytes(start)
            for offset, data in self.source.ranges(name, start, size, stop):
                if offset != file.tell():
                    file.seek(0)
                    digest = hashlib.sha256()
                file.write(data)
                digest.update(data)
                on_bytes(len(data))
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        return str(digest.hexdigest())


@contextlib.contextmanager
def _writing(cache: Cache) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if (said := refusal(error, instead=cache.folder)) is None:
            raise
        raise InputError(
            f"cache {cache.folder}: cannot be written ({said.why}); {said.remedy}, or name another folder by "
            "MOCO_CXR_CACHE"
        ) from None


@contextlib.contextmanager
def _bar(remote: RemoteFolder, name: str, size: int, on_bytes: OnBytes | None) -> Iterator[OnBytes]:
    if on_bytes is not None:
        yield on_bytes
        return
    with fetching_bar(size, f"fetching {name}") as bar:
        yield bar.update


def fetching_bar(num_bytes: int, title: str) -> Bar:
    """A bar of bytes and their rate on stderr, on the first rank of a machine; it appears after a second."""
    return Bar(
        total=num_bytes,
        unit="B",
        unit_scale=True,
        desc=title,
        leave=False,
        delay=_SHOW_AFTER_SECONDS,
        disable=os.environ.get("LOCAL_RANK", "0") != "0",
    )
