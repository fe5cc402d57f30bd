"""``OpenShards``: the shards of opened datasets as open files, read by number within the limit of open files.

Images are read by ``pread`` and not from memory maps: where a shard is cut off, or its disk or server gone, a map ends
the process (SIGBUS), and this is an error in words. It takes 13 us more for an image of 35 kB, 2 % of its decoding.
"""

import contextlib
import errno
import os
import resource
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shards.base.errors import InputError
from shards.remote.cache import share, unshare
from shards.remote.folder import OnBytes, RemoteFolder

_TOO_MANY = (errno.EMFILE, errno.ENFILE)


class CutOff(InputError):
    """A shard of ``num_bytes`` ends before an image that the index has in it."""

    def __init__(self, path: Path, *, num_bytes: int, end: int) -> None:
        super().__init__(
            f"shard {path}: is cut off, with {num_bytes:,} bytes where the index has an image up to byte {end:,}; copy "
            "it again, or pack the dataset again"
        )
        self.num_bytes = num_bytes


class OpenShards:
    """The tars at ``paths``, some of which can be fetched from ``remotes``. They stay open once they were read, as many
    as take half of the files that this process may open; the others are opened for each image.

    Threads may share it. A copy in another process opens, and fetches, by itself.
    """

    def __init__(self, paths: Sequence[Path], remotes: Sequence[RemoteFolder | None]) -> None:
        self.paths, self.remotes = list(paths), list(remotes)
        self._forget()

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, number: int, offset: int, length: int) -> memoryview:
        """So many bytes of a shard.

        Raises:
            CutOff: it ends before them.
            InputError: it is missing, or cannot be read or fetched.
        """
        data, shard = b"", None
        for is_last in (False, True):
            try:
                shard = self._kept.get(number) or self._get(number)
                data = shard.read(offset, length)
                break
            except OSError as error:
                self.drop(number)
                if is_last or error.errno != errno.ESTALE:  # a network file system may have another file of this name
                    raise _refusal(self.paths[number], error) from None
        assert shard is not None
        if len(data) != length:
            raise CutOff(self.paths[number], num_bytes=shard.size(), end=offset + length)
        return memoryview(data)

    def hold(self, number: int, *, stop: threading.Event, on_bytes: OnBytes) -> "OpenShard":
        """Has the shard of a remote dataset in the cache and open. It is not evicted until
        :meth:`OpenShard.let_go`.

        Raises:
            InputError: it cannot be fetched; the next read of it says so too.
            Stopped: ``stop`` was set.
        """
        while True:
            shard = self._get(number, stop=stop, on_bytes=on_bytes)
            if share(shard.descriptor):
                return shard
            self.drop(number)  # it was open and not held, and was evicted

    def drop(self, number: int) -> None:
        """Closes a shard, when nobody reads from it any more."""
        with self._locks[number]:
            self._kept.pop(number, None)

    @property
    def num_open(self) -> int:
        """Shards that are kept open."""
        return len(self._kept)

    def require(self, numbers: Sequence[int], ends: Sequence[int]) -> None:
        """Refuses local shards that are missing, or that end before byte ``ends``, all at once.

        Raises:
            InputError: naming the first of them, and how many there are.
        """
        problems = []
        for number, end in zip(numbers, ends, strict=True):
            if self.remotes[number] is not None:
                continue
            try:
                size = self.paths[number].stat().st_size
            except OSError as error:
                problems.append(str(_refusal(self.paths[number], error)))
            else:
                if size < end:
                    why = "is empty" if not size else f"is cut off, with {size:,} bytes of at least {end:,}"
                    again = "copy it again, or pack the dataset again"
                    problems.append(f"shard {self.paths[number]}: {why}; {again}")
        if len(problems) > 1:
            raise InputError(f"{problems[0]} (the first of {len(problems)} such shards of {len(numbers)})")
        if problems:
            raise InputError(problems[0])

    def _get(self, number: int, *, stop: threading.Event | None = None, on_bytes: OnBytes | None = None) -> "OpenShard":
        path, remote = self.paths[number], self.remotes[number]
        with self._locks[number]:
            shard = self._kept.get(number)
            if shard is not None:
                return shard
            if number in self._failures:
                raise self._failures.pop(number)
            try:
                shard = self._open(path, remote, stop=stop, on_bytes=on_bytes)
            except InputError as error:
                if stop is not None:  # nobody waits for a read-ahead: whoever reads the shard next is told
                    self._failures[number] = error
                raise
            # Descriptors are the lowest numbers free, so this one says how many files are open.
            if stop is not None or shard.descriptor < allow_open_files(shard.descriptor + len(self.paths)):
                self._kept[number] = shard
        if remote is not None:
            self._drop_evicted()
        return shard

    def _open(
        self, path: Path, remote: RemoteFolder | None, *, stop: threading.Event | None, on_bytes: OnBytes | None
    ) -> "OpenShard":
        for has_room in (False, True):
            try:
                if remote is None:
                    shard = OpenShard(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # a pipe would be waited for
                    kind = stat.S_IFMT(os.fstat(shard.descriptor).st_mode)
                    if kind not in (stat.S_IFREG, stat.S_IFDIR):  # reading a folder says that it is one
                        raise InputError(f"shard {path}: is no file; copy the whole dataset folder, or pack it again")
                    return shard
                with remote.open_file(path.name, held=stop is not None, stop=stop, on_bytes=on_bytes) as file:
                    return OpenShard(os.dup(file.fileno()))
            except OSError as error:
                if has_room or error.errno not in _TOO_MANY:
                    raise _refusal(path, error) from None
                self._kept.clear()  # others have opened more than half of what this process may
        raise AssertionError("opened, or refused")

    def _drop_evicted(self) -> None:
        """Closes shards that are gone from the cache: only then the disk has their room again."""
        for number, shard in list(self._kept.items()):
            if self.remotes[number] is not None and not shard.is_linked():
                with self._locks[number]:
                    if self._kept.get(number) is shard:
                        del self._kept[number]

    def _forget(self) -> None:
        """No open file, no lock: as new, or as it arrives in another process."""
        self._kept: dict[int, OpenShard] = {}
        self._failures: dict[int, InputError] = {}
        self._locks = [threading.Lock() for _ in self.paths]

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "remotes": self.remotes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


class OpenShard:
    """A file open to read, which is closed when nobody holds it any more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read(self, offset: int, length: int) -> bytes:
        """Bytes at an offset; fewer at the end."""
        data = os.pread(self.descriptor, length, offset)
        while len(data) < length and (more := os.pread(self.descriptor, length - len(data), offset + len(data))):
            data += more  # a signal, or a network file system's own limit
        return data

    def size(self) -> int:
        """Bytes that the file has now."""
        return os.fstat(self.descriptor).st_size

    def let_go(self) -> None:
        """Allows a shard that was held to be evicted."""
        unshare(self.descriptor)

    def is_linked(self) -> bool:
        """Whether the file still has a name."""
        return os.fstat(self.descriptor).st_nlink > 0

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


def allow_open_files(num_files: int) -> int:
    """How many files may stay open for shards: half of those that this process may open. Its soft limit is raised so
    that it is ``num_files``, as far as its hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * num_files
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # some sandboxes allow no change
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft // 2


def _refusal(path: Path, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"shard {path}: missing; copy the whole dataset folder, or pack it again")
    if error.errno in _TOO_MANY:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return InputError(
            f"shard {path}: cannot be opened, as this process has opened the {limit:,} files that it may; allow more "
            f"before it starts: ulimit -n {max(1024, 4 * limit)}"
        )
    why = error.strerror or str(error)
    if isinstance(error, PermissionError):
        return InputError(f"shard {path}: cannot be read ({why}); give yourself the right to read the dataset folder")
    return InputError(f"shard {path}: cannot be read ({why}); check its disk or network share, and run this again")
