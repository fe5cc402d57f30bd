"""Files that are whole or absent: written aside, synced, renamed, and the rename synced too.

So a process killed at any moment, or a machine that loses power, leaves at most a ``.part`` file under a name that
nothing reads.
"""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".part"


@contextlib.contextmanager
def written_aside(path: Path, *, folder: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of ``path`` when the block ends without an error and vanishes otherwise.

    It is written in ``folder``, on the file system of ``path``; default: beside it. Its name is new each time, so a
    process that was thought dead and another that repeats its work do not write into one file.
    """
    aside = (folder or path.parent) / f"{path.name}.{uuid.uuid4().hex[:12]}{SUFFIX}"
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems do not sync folders
            raise
    finally:
        os.close(descriptor)
