"""Folders with files that end whoever reads and decodes them, by what is in them, and with images that are too much."""

import os
import signal
from pathlib import Path

from shards.sources.files import FolderFiles


class HostileFiles(FolderFiles):
    """A folder in which files of ``abort``, ``loop``, ``eat`` and ``kill`` do so to their process."""

    def read(self, name: str) -> bytes:
        data = super().read(name)
        if data == b"abort":
            os.abort()
        if data == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if data == b"eat":
            bytearray(64 << 30)
        while data == b"loop":
            pass
        return data


class FilesOfKilledWorkers(FolderFiles):
    """A folder whose every worker is killed, as where memory runs out."""

    def __reduce__(self) -> tuple[object, ...]:
        return _killed, (self.root, os.getpid())


def _killed(root: Path, sender: int) -> FolderFiles:
    if os.getpid() != sender:
        os.kill(os.getpid(), signal.SIGKILL)
    return FilesOfKilledWorkers(root)
