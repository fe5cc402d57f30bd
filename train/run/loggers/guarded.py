"""What keeps a logger from stopping or slowing a run: a thread of its own, and an end at its first failure."""

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from shards.base.disk import refusal
from shards.base.words import reason_of
from train.run.loggers.contract import End, Logger

_ROOM = 10_000
"""Lines that may wait for a server."""
CLOSE_SECONDS = 60.0
"""That the end of a run waits for what a logger still has to send."""


class Guarded:
    """A logger whose failures are told once, in one line; from then on it takes nothing more.

    It is opened, written and closed in its own thread, so neither a server that does not answer nor a library that
    takes its time is waited for, other than at the end of the run, for a minute at most.

    Args:
        opening: opens it, with whatever that imports.
        tell: prints a line.
    """

    def __init__(self, name: str, opening: Callable[[], Logger], tell: Callable[[str], None]) -> None:
        self.name, self._opening, self._tell = name, opening, tell
        self._lines: queue.Queue[Mapping[str, Any] | End] = queue.Queue(_ROOM)
        self._lock, self._is_over = threading.Lock(), False
        self._thread = threading.Thread(target=self._work, name=f"logger {name}", daemon=True)
        self._thread.start()

    def write(self, line: Mapping[str, Any]) -> None:
        """Takes a line, unless it has failed before."""
        self._put(dict(line))

    def end(self, end: End) -> None:
        """Nothing more comes; a second time does nothing."""
        self._put(end)

    def wait(self, seconds: float = CLOSE_SECONDS) -> None:
        """Behind :meth:`end`, waits for what is still to be sent."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._give_up(f"has not taken all lines within {seconds:.0f} seconds of the end")
        self._is_over = True

    def _put(self, item: Mapping[str, Any] | End) -> None:
        if self._is_over:
            return
        try:
            self._lines.put_nowait(item)
        except queue.Full:
            self._give_up(f"has not answered while {_ROOM:,} lines came")

    def _work(self) -> None:
        try:
            logger = self._opening()
            while not isinstance(item := self._lines.get(), str):
                if self._is_over:
                    return
                logger.write(item)
            logger.close(item)
        except (Exception, SystemExit) as error:  # libraries fail in any way
            said = refusal(error)
            self._give_up(f"{said.where}: {said.why}" if said else reason_of(error))

    def _give_up(self, why: str) -> None:
        with self._lock:
            if not self._is_over:
                self._is_over = True
                self._tell(f"warning: run.log {self.name}: {why}; the run goes on without it, metrics.jsonl has all")
