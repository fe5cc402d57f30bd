"""Progress on standard error: a bar on a terminal; elsewhere, as in a file or under ``pdsh``, whole lines."""

import time
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0
_LINE = "{desc}: {percentage:.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
_NARROWER = (_LINE, _LINE.replace(", {rate_fmt}", ""), "{desc}: {percentage:.0f}% [{elapsed}<{remaining}{postfix}]")
_LEAST_BAR = 10  # columns


class Bar(tqdm):
    """A ``tqdm``. Where its stream is no terminal it writes a line every 30 seconds and one at the end, no carriage
    returns and codes for a cursor: what passes whole lines on would show nothing else until the run is over.

    Where a terminal has no room for it all, the bar itself goes first, then the rate, then the count: what a step tells
    of itself, the postfix, stays.

    One with ``leave=False``, for what is a matter of seconds, writes its last line only where it has written others.
    """

    leave: bool

    def __init__(self, *args: Any, **options: Any) -> None:
        self._begin = time.monotonic()
        self._last_line: float | None = None
        super().__init__(*args, **options)

    def __str__(self) -> str:
        facts = self.format_dict
        width = facts["ncols"]
        lines = [] if width is None or not facts["total"] else [self._line(form) for form in _NARROWER]
        if not lines or len(lines[0]) + _LEAST_BAR <= width:
            return str(super().__str__())
        return str(next((line for line in lines if len(line) <= width), lines[-1][:width]))

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        if self.fp.isatty():
            return bool(super().display(msg, pos))
        if time.monotonic() - (self._last_line or self._begin) >= LINE_SECONDS:
            self._write_line()
        return False

    def clear(self, nolock: bool = False) -> None:
        if self.fp.isatty():
            super().clear(nolock)

    def close(self) -> None:
        if not self.disable and not self.fp.isatty():
            if self._last_line is not None or (self.leave and time.monotonic() - self._begin >= self.delay):
                with self.get_lock():
                    self._write_line()
            self.leave = False  # for tqdm, which would end its line
        super().close()

    def _write_line(self) -> None:
        self._last_line = time.monotonic()
        self.fp.write(f"{self._line(_LINE)}\n")
        self.fp.flush()

    def _line(self, form: str) -> str:
        return str(self.format_meter(**self.format_dict | {"bar_format": form, "ncols": None}))
