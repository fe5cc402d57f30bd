"""What disks refuse, in words: any read, write, lock or rename may fail, and whoever runs the command can mend it.

An error of the system names the file, says what is wrong with it, and here gets its remedy: one line for every command.
"""

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

SHARED_MEMORY = Path("/dev/shm")
AGAIN = "repeat the command"
_ROOM = f"make room and {AGAIN}"
_SHARE = f"check the disk or network share, and {AGAIN}"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: f"the quota is used up: {_ROOM}, or ask for more",
    errno.EFBIG: f"allow larger files (ulimit -f unlimited), or use another file system, and {AGAIN}",
    errno.EROFS: "name a folder that you may write to, or mount this anew",
    errno.EACCES: "give yourself the right to it, or name another",
    errno.EPERM: "give yourself the right to it, or name another",
    errno.ENOENT: f"put back what is gone, and {AGAIN}",
    errno.ENOTDIR: "a part of its path is a file; name another",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another, or remove it",
    errno.ENAMETOOLONG: "give shorter names",
    errno.ELOOP: "mend the links of its path",
    errno.EMFILE: f"allow more open files (ulimit -n 65536), and {AGAIN}",
    errno.ENFILE: f"let the machine open more files, and {AGAIN}",
    errno.ENOLCK: f"mount the share with locks, or name a folder on another, and {AGAIN}",
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.EREMOTEIO), _SHARE
    ),
    **dict.fromkeys((errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EBUSY, errno.EAGAIN, errno.ENOTEMPTY), _SHARE),
}
_TELLING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE)  # of files and nothing else


class Refusal(NamedTuple):
    """Where an error is, what is wrong there, and what to do; as text, one line."""

    where: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}; {self.remedy}"


_OF_SHARED_MEMORY = Refusal(
    str(SHARED_MEMORY),
    "the shared memory that processes pass data through is full or closed to writing",
    f"make room there or enlarge it (mount -o remount,size=8G {SHARED_MEMORY}; docker run --shm-size=8g), and {AGAIN}",
)


def refusal(error: BaseException, *, instead: Path | None = None) -> Refusal | None:
    """What to tell of an error of the system about a file; None for any other error.

    Args:
        instead: the file or folder that the error is of where it does not say.
    """
    if isinstance(error, RuntimeError) and _is_of_shared_memory(error):
        return _OF_SHARED_MEMORY
    if not isinstance(error, OSError) or error.errno not in _REMEDIES:
        return None
    why, remedy = error.strerror or os.strerror(error.errno), _REMEDIES[error.errno]
    where = instead if error.filename is None or isinstance(error.filename, int) else Path(os.fsdecode(error.filename))
    if error.errno == errno.ENOSPC and error.filename is None:
        where = _full_place() or instead
    if where is None:
        return (
            Refusal("a file that the system does not name, perhaps standard output", why, remedy)
            if error.errno in _TELLING
            else None
        )
    if where.is_relative_to(SHARED_MEMORY):
        return _OF_SHARED_MEMORY
    if error.errno == errno.ENOSPC and _has_bytes(where):
        why, remedy = f"{why} for another file, though there is for bytes", f"remove files (df -i), and {AGAIN}"
    return Refusal(str(where), why, remedy)


def _is_of_shared_memory(error: RuntimeError) -> bool:
    text = str(error)
    return ("</torch_" in text or str(SHARED_MEMORY) in text) and os.strerror(errno.ENOSPC) in text


def _full_place() -> Path | None:
    """A place of everybody's that has no room: semaphores, which tell no file, and temporary files are made there."""
    for place in (SHARED_MEMORY, Path(tempfile.gettempdir())):
        if place.is_dir() and (shutil.disk_usage(place).free < 4096 or not os.statvfs(place).f_favail):
            return place
    return None


def _has_bytes(path: Path) -> bool:
    """Whether a disk that has no room has some for bytes: then it has none for another name."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    found = os.statvfs(path)
    return found.f_files > 0 and not found.f_favail and found.f_bavail > 0
