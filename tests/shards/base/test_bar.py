"""Progress where nobody watches: whole lines, few of them."""

import io
import os
import pty
import sys

import pytest

from shards.base import bar
from shards.base.bar import LINE_SECONDS, Bar


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(bar, "time", clock)
    return clock


def lines_of(stream: io.StringIO) -> list[str]:
    text = stream.getvalue()
    assert "\r" not in text
    assert "\x1b" not in text
    assert not text or text.endswith("\n")
    return text.splitlines()


def test_a_line_every_thirty_seconds_and_at_the_end(clock: Clock) -> None:
    stream = io.StringIO()
    with Bar(total=600, desc="pretrain", unit="step", file=stream) as progress:
        for step in range(600):
            clock.now += LINE_SECONDS / 60
            progress.set_postfix_str("loss 6.1", refresh=False)
            progress.update()
            progress.refresh()
            if step == 250:
                Bar.write("warning: as of here", file=stream)
    lines = [line for line in lines_of(stream) if not line.startswith("warning")]
    assert [line.split(" [")[0] for line in lines[:2]] == ["pretrain: 10% 60/600", "pretrain: 20% 120/600"]
    assert len(lines) == 11, "ten within the time, and the last"
    assert lines[-1].startswith("pretrain: 100% 600/600 [")
    assert lines[-1].endswith("step/s, loss 6.1]")
    assert len(lines_of(stream)) == 12


def test_what_is_short_is_one_line_and_what_only_a_waiting_eye_needs_none(clock: Clock) -> None:
    stream = io.StringIO()
    for _ in Bar(range(5), desc="cells", file=stream):
        clock.now += 1
    assert len(lines_of(stream)) == 1
    for options in ({"leave": False}, {"delay": 10.0}, {"disable": True}):
        for _ in Bar(range(5), file=stream, **options):
            clock.now += 1
    assert len(lines_of(stream)) == 1
    for _ in Bar(range(5), file=stream, leave=False, mininterval=0, miniters=1):
        clock.now += LINE_SECONDS
    assert len(lines_of(stream)) > 2


def test_bars_inside_one_another_move_no_cursor(clock: Clock) -> None:
    stream = io.StringIO()
    with Bar(total=2, desc="outer", file=stream) as outer:
        for _ in range(2):
            for _ in Bar(range(3), desc="inner", file=stream, mininterval=0):
                clock.now += LINE_SECONDS
            outer.update()
    assert {line.split(":")[0] for line in lines_of(stream)} == {"outer", "inner"}


def test_on_a_terminal_it_is_a_bar() -> None:
    above, below = pty.openpty()
    shown = ""
    with os.fdopen(below, "w") as terminal:
        for _ in Bar(range(3), file=terminal):
            pass
        while not shown.endswith("\n"):
            shown += os.read(above, 10_000).decode()
    os.close(above)
    assert "\r" in shown
    assert "100%|" in shown


def test_in_a_narrow_terminal_the_bar_goes_first_and_what_a_step_tells_stays() -> None:
    with Bar(total=440, desc="pretrain", unit="step", file=io.StringIO(), ncols=200) as progress:
        progress.n, progress.start_t = 96, progress.start_t - 320
        progress.set_postfix_str("loss 6.021, acc 23%, 16 img/s, wait 0%, 3.4 GiB", refresh=False)
        assert "|" in str(progress)
        for width, has_rate, has_count in ((100, True, True), (88, False, True), (79, False, False)):
            progress.ncols = width
            line = str(progress)
            assert len(line) <= width
            assert "|" not in line
            assert ("s/step" in line, "96/440" in line) == (has_rate, has_count), line
            assert line.startswith("pretrain: 22% ")
            assert line.endswith("wait 0%, 3.4 GiB]")
        progress.ncols = 40
        assert len(str(progress)) == 40


def test_it_goes_where_standard_error_goes(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in Bar(range(2), desc="here"):
        pass
    assert capsys.readouterr().err.startswith("here: 100% 2/2 [")
    assert not sys.stderr.isatty()
