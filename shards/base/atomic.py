"""Files and folders that are whole or absent: written under another name, synced, renamed, and the rename synced too.

So a process killed at any moment, or a machine that loses power, leaves at most something ending in ``.part``, which
nothing reads.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".part"
_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # some network file systems


@contextlib.contextmanager
def atomic_file(path: Path, *, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of ``path`` when the block ends without an error and vanishes otherwise.

    It is written in the folder ``scratch``, on the file system of ``path``; default: beside it. Its name is new each
    time, so a process that was thought dead and another that repeats its work do not write into one file.
    """
    part = (scratch or path.parent) / f"{path.name}.{uuid.uuid4().hex[:12]}{SUFFIX}"
    with naming(path, part):
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                _sync(file.fileno())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        _sync_path(path.parent)


def atomic_write(path: Path, content: str | bytes, *, scratch: Path | None = None) -> None:
    """Writes ``content``, text as UTF-8, to ``path``; ``scratch`` as in :func:`atomic_file`."""
    with atomic_file(path, scratch=scratch) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``path`` when the block ends without an error and vanishes otherwise.

    ``path`` must be absent by then, or an empty folder.
    """
    part = part_of(path)
    with naming(path, part):
        begin_folder(path)
        try:
            yield part
            commit_folder(path)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def part_of(folder: Path) -> Path:
    """Where ``folder`` is filled."""
    return folder.with_name(f"{folder.name}{SUFFIX}")


def begin_folder(folder: Path) -> Path:
    """Makes the folder in which ``folder`` is filled, empty: :func:`atomic_folder` for those who cannot use a block."""
    part = part_of(folder)
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    return part


def commit_folder(folder: Path) -> None:
    """Gives the filled folder its name, once all that is in it is on the disk."""
    part = part_of(folder)
    for found in [*part.rglob("*"), part]:
        _sync_path(found)
    part.replace(folder)
    _sync_path(folder.parent)


@contextlib.contextmanager
def naming(path: Path, part: Path | None = None) -> Iterator[None]:
    """Has an error of the system name ``path``, where it names nothing (a write, a sync) or what is in ``part``."""
    part = part or path
    try:
        yield
    except OSError as error:
        if error.errno is not None and not isinstance(error.filename, bytes | int):
            found = Path(error.filename or part)
            if found.is_relative_to(part):
                error.filename, error.filename2 = str(path / found.relative_to(part)), None
        raise


def _sync_path(path: Path) -> None:
    """Makes a file's bytes, or a folder's names, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
