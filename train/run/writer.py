"""One writer a run folder: two runs in one folder would prune one another's checkpoints."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from shards.base.errors import InputError, writing
from shards.base.locks import Lock, pause


class Writer:
    """The right to write a run folder, which one run has at a time, on whatever machine.

    It is the lock ``run.lock`` in the folder (:mod:`shards.base.locks`). What a killed run has left is taken over at
    once on its own machine; on another one, once it has been silent for a minute.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock(folder / "run.lock")

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the folder during the block; a refusal in it leaves no empty one that was made for it.

        Raises:
            InputError: a run that lives holds it, or it cannot be written.
        """
        is_new = not self.folder.exists()
        try:
            with self._held():
                yield
        except InputError:
            if is_new:
                with contextlib.suppress(OSError):  # it is another's, or holds a run
                    self.folder.rmdir()
            raise

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        seen: int | None = None
        while True:
            with contextlib.ExitStack() as stack:
                with writing(self.folder):
                    is_held = stack.enter_context(self._lock.try_hold())
                if is_held:
                    yield
                    return
            with contextlib.suppress(FileNotFoundError):
                touched = self._lock.path.stat().st_mtime_ns
                if seen is not None and touched != seen:
                    raise InputError(
                        f"--output {self.folder}: {self._lock.holder()} is writing this run; stop it or wait for its "
                        "end, or give another folder"
                    )
                seen = touched
            pause()

    def check(self) -> None:
        """Looks whether the folder is still held; asked before whatever is written.

        Raises:
            InputError: another run has taken it over meanwhile, and may have ended since.
        """
        if not self._lock.is_lost():
            return
        try:
            other = f"{self._lock.holder()} has taken this run over"
        except FileNotFoundError:
            other = f"another has taken this run over and ended, or {self._lock.path.name} was removed"
        raise InputError(
            f"--output {self.folder}: {other}, as this process was silent for a minute, suspended perhaps; nothing "
            "more is written here: leave it to the other, or repeat the command"
        )
