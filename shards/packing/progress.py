"""Progress of many workers on any machines: each appends a byte an image to a file of its shard in the output folder,
and the build shows the sum. So the bar moves while a shard of slow images is under way, with every backend."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from shards.base.bar import Bar

SUFFIX = ".progress"
_WRITE_SECONDS = 0.5
_SHOW_SECONDS = 1.0


class ShardProgress:
    """Counts the images of one shard in the file ``path``, written at most twice a second."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._pending = 0
        self._written = time.monotonic()

    def add(self) -> None:
        """One image more."""
        self._pending += 1
        if time.monotonic() - self._written > _WRITE_SECONDS:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()
        self._file.close()

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # a full disk is reported by the shard, which matters more
            self._file.write(b"." * self._pending)
        self._pending, self._written = 0, time.monotonic()


@contextlib.contextmanager
def progress_bar(folder: Path, *, total: int, done: int, title: str) -> Iterator[None]:
    """A bar on stderr of ``done`` images and those that workers count in ``folder``; it moves every second."""
    ended = threading.Event()

    def count() -> int:
        sizes = []
        for path in folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return done + sum(sizes)

    with Bar(total=total, initial=done, unit="img", desc=title, smoothing=0.05) as bar:

        def show() -> None:
            bar.update(count() - bar.n)
            bar.refresh()

        def show_until_ended() -> None:
            while not ended.wait(_SHOW_SECONDS):
                show()

        thread = threading.Thread(target=show_until_ended, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            show()
