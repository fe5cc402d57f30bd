"""Where a source reads from: a folder, or a zip read in place. Both list and give files by relative names."""

import contextlib
import errno
import os
import stat
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from shards.base.errors import InputError, OptionError
from shards.sources.single_file import refuse_single_file

MAX_FILE_BYTES = 1 << 30  # a radiograph has some tens of MB; a zip bomb or a sparse file can claim any size


class SourceFiles(Protocol):
    """The files of an input, by names relative to its root, with ``/`` between the parts. Can be sent to workers."""

    @property
    def label(self) -> str:
        """What messages call the input: its path on disk."""

    def names(self) -> list[str]:
        """All files in sorted order; hidden files and folders are left out. Raises InputError for a folder that cannot
        be listed, or that is a link out of the input."""

    def folders(self) -> list[str]:
        """The folders directly below, in sorted order, hidden ones left out. Cheap: nothing deeper is listed."""

    def has(self, name: str) -> bool:
        """Whether there is such a file; False for a name that leaves the input."""

    def size(self, name: str) -> int:
        """Bytes of a file, uncompressed. Raises as :meth:`open` does."""

    def file_number(self, name: str) -> tuple[int, int] | None:
        """What all names of one file have in common, which can be several by links; None for a file that cannot be
        looked at, and in a zip, which has no links."""

    def open(self, name: str) -> IO[bytes]:
        """A file, open for reading and seeking. Raises FileNotFoundError, PermissionError or another OSError, and
        InputError for a name or a link that leaves the input."""

    def read(self, name: str) -> bytes:
        """All bytes of a file. Raises as :meth:`open` does, and OSError for a file over ``MAX_FILE_BYTES``."""

    def below(self, prefix: str) -> "SourceFiles":
        """The files below one folder, named from there; ``""`` is the input itself; a slash may end it."""


def open_files(path: Path, *, flag: str = "--input", takes_list: bool = False) -> SourceFiles:
    """The files of a folder or of a zip; ``flag`` is the option that named it, ``takes_list`` whether ``--csv`` can be
    given beside it.

    Raises:
        InputError: there is no such folder or zip, or it cannot be read.
    """
    if path.is_dir():
        return FolderFiles(path)
    if not path.exists():
        raise OptionError(f"{flag} {path}: no such folder or zip; give the folder that holds the release, or its zip")
    refuse_single_file(path, flag=flag, takes_list=takes_list)
    return ZipFiles(path)


def is_inside(name: str) -> bool:
    """Whether a name stays inside the input as it is written: relative, with no ``..``, no NUL and no empty part."""
    return bool(name) and "\0" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


def _checked(name: str, label: str) -> str:
    if not is_inside(name):
        raise InputError(f"{label}: the name {name!r} leaves the input; give names relative to it, without '..'")
    return name


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX", "@eaDir"))  # what macOS and Synology's servers add


def _join(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _too_large(name: str, size: int) -> OSError:
    return OSError(errno.EFBIG, f"file of {size:,} bytes, over the {MAX_FILE_BYTES:,} that are read", name)


class FolderFiles:
    """The files below a folder. Links are followed as long as they stay inside the input."""

    def __init__(self, root: Path, *, bound: Path | None = None) -> None:
        self.root = root
        self._top = os.path.realpath(root)
        self._bound = os.path.realpath(bound or root)
        self.label = str(root)

    def names(self) -> list[str]:
        found: list[str] = []
        pending: list[tuple[str, frozenset[str]]] = [("", frozenset({self._top}))]
        while pending:
            prefix, ancestors = pending.pop()
            for entry in self._scan(prefix):
                name = _join(prefix, entry.name)
                if _is_hidden(entry.name):
                    continue
                if _is_folder(entry):
                    real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(self._top, name)
                    if not self._holds(real):
                        raise InputError(
                            f"{self.label}: the folder {name} is a link out of the input, to {real}; "
                            "remove it, or put the folder itself there"
                        )
                    if real not in ancestors:  # a link to a folder around it would go on for ever
                        pending.append((name, ancestors | {real} if entry.is_symlink() else ancestors))
                elif entry.is_symlink() or entry.is_file():  # a dangling link is a missing file, not nothing
                    found.append(name)
        return sorted(found)

    def folders(self) -> list[str]:
        return sorted(entry.name for entry in self._scan("") if _is_folder(entry) and not _is_hidden(entry.name))

    def has(self, name: str) -> bool:
        return is_inside(name) and os.path.isfile(os.path.join(self._top, name))

    def size(self, name: str) -> int:
        with self._found(name) as place:
            return os.fstat(place).st_size

    def file_number(self, name: str) -> tuple[int, int] | None:
        try:
            found = os.stat(os.path.join(self._top, _checked(name, self.label)))
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def open(self, name: str) -> IO[bytes]:
        with self._found(name) as place:
            if not stat.S_ISREG(os.fstat(place).st_mode):  # a pipe without a writer would block
                raise OSError(errno.EINVAL, "not an ordinary file", name)
            return open(f"/proc/self/fd/{place}", "rb")

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise _too_large(name, size)
            return file.read()

    def below(self, prefix: str) -> "FolderFiles":
        prefix = prefix.rstrip("/")
        if not prefix:
            return self
        path = self.root / _checked(prefix, self.label)
        if not self._holds(os.path.realpath(path)):
            raise InputError(
                f"{self.label}: the folder {prefix} is a link out of the input; put the folder itself there"
            )
        return FolderFiles(path, bound=Path(self._bound))

    def _scan(self, prefix: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(os.path.join(self._top, prefix)) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise InputError(f"{_join(self.label, prefix)}: cannot be listed: {error.strerror}") from error

    @contextlib.contextmanager
    def _found(self, name: str) -> Iterator[int]:
        """A descriptor of where a file lies, which is not open for reading yet. The kernel tells where that really is,
        in a third of the time that following the links of a path takes."""
        place = os.open(os.path.join(self._top, _checked(name, self.label)), os.O_PATH | os.O_CLOEXEC)
        try:
            if not self._holds(os.readlink(f"/proc/self/fd/{place}")):
                raise InputError(f"{self.label}: {name} is a link out of the input; put the file itself there")
            yield place
        finally:
            os.close(place)

    def _holds(self, real: str) -> bool:
        return real == self._bound or real.startswith(self._bound.rstrip("/") + "/")


class ZipFiles:
    """The files of a zip, read in place; every process opens the zip for itself.

    Raises:
        InputError: not a zip, not readable, or with names that leave it.
    """

    def __init__(self, path: Path, *, prefix: str = "", archive: "_Archive | None" = None) -> None:
        self.path = path
        self.label = str(path / prefix)
        self._prefix = prefix
        self._archive = archive or _Archive(path)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.path, self._prefix)

    def names(self) -> list[str]:
        return [name for name in self._listed() if not any(_is_hidden(part) for part in name.split("/"))]

    def folders(self) -> list[str]:
        return sorted({name.split("/")[0] for name in self._listed() if "/" in name and not _is_hidden(name)})

    def has(self, name: str) -> bool:
        return is_inside(name) and _join(self._prefix, name) in self._archive.entries

    def size(self, name: str) -> int:
        return self._entry(name).file_size

    def file_number(self, name: str) -> tuple[int, int] | None:
        return None

    def open(self, name: str) -> IO[bytes]:
        entry = self._entry(name)
        if entry.flag_bits & 1:
            raise PermissionError(errno.EACCES, "encrypted in the zip; unpack it first", name)
        try:
            return self._archive.opened().open(entry)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise OSError(errno.EIO, f"cannot be read from the zip: {error}", name) from error

    def read(self, name: str) -> bytes:
        size = self.size(name)
        if size > MAX_FILE_BYTES:
            raise _too_large(name, size)
        with self.open(name) as file:
            try:
                return file.read()
            except (zipfile.BadZipFile, EOFError, zlib.error) as error:
                raise OSError(errno.EIO, f"damaged in the zip: {error}", name) from error

    def below(self, prefix: str) -> "ZipFiles":
        prefix = prefix.rstrip("/")
        if not prefix:
            return self
        return ZipFiles(self.path, prefix=_join(self._prefix, _checked(prefix, self.label)), archive=self._archive)

    def _listed(self) -> list[str]:
        names = self._archive.names
        if not self._prefix:
            return names
        inside = f"{self._prefix}/"
        first, last = bisect_left(names, inside), bisect_left(names, f"{self._prefix}0")  # 0 comes after /
        return [name[len(inside) :] for name in names[first:last]]

    def _entry(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._archive.entries[_join(self._prefix, _checked(name, self.label))]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "not in the zip", name) from None


class _Archive:
    """A zip that is open, with its files by their names, and these in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip = self._open()
        named = ((_plain(entry.filename), entry) for entry in self._zip.infolist())
        self.entries = {_checked(name, str(path)): entry for name, entry in named if not name.endswith("/")}
        self.names = sorted(self.entries)

    def opened(self) -> zipfile.ZipFile:
        if self._process != os.getpid():  # a fork shares the parent's file position
            self._zip = self._open()
        return self._zip

    def _open(self) -> zipfile.ZipFile:
        self._process = os.getpid()
        try:
            return zipfile.ZipFile(self._path)
        except (OSError, zipfile.BadZipFile) as error:
            raise OptionError(f"--input {self._path}: cannot be read as a zip: {error}") from error


def _plain(name: str) -> str:
    """A zip's name for a file as others write it: Windows' tools use backslashes, others begin with ``./``."""
    name = name.replace("\\", "/")
    is_rooted, is_folder = name.startswith("/"), name.endswith("/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/" * is_rooted + "/".join(parts) + "/" * (is_folder or not parts)


def _reopen(path: Path, prefix: str) -> ZipFiles:
    return ZipFiles(path, prefix=prefix)
