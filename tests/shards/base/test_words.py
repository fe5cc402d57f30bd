import errno
import os

import pytest

from shards.base.words import as_duration, as_size, reason_of


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0.0 MB"),
        (442_464, "0.4 MB"),
        (999e6, "999.0 MB"),
        (1.5e9, "1.5 GB"),
        (2e12, "2.0 TB"),
        (3e15, "3,000.0 TB"),
    ],
)
def test_bytes(number, words):
    assert as_size(number) == words


def test_a_smaller_unit():
    assert [as_size(number, least="kB") for number in (200, 30_720, 2e6)] == ["0.2 kB", "30.7 kB", "2.0 MB"]


@pytest.mark.parametrize(("seconds", "words"), [(4.6, "5 s"), (125, "2 min 05 s"), (3725, "1 h 02 min")])
def test_durations(seconds, words):
    assert as_duration(seconds) == words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/file"), "No space left on device"),
        (RuntimeError("\nfirst line\nsecond line"), "first line"),
        (KeyError(), "KeyError"),
    ],
)
def test_reasons_are_one_line(error, words):
    assert reason_of(error) == words
