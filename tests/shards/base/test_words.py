import errno
import os
import sys
from pathlib import Path

import pytest

from shards.base.words import CALLED, as_called, as_duration, as_size, nearest_path, reason_of


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


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("moco-cxr", "moco-cxr shards verify a"),
        ("/opt/venv/bin/moco-cxr", "moco-cxr shards verify a"),
        ("/opt/site-packages/shards/__main__.py", "python -m shards verify a"),
        ("/project/train/pretrain.py", "python -m shards verify a"),
        ("/opt/site-packages/ipykernel_launcher/__main__.py", "moco-cxr shards verify a"),
        ("-c", "moco-cxr shards verify a"),
        ("my.py", "moco-cxr shards verify a"),
    ],
)
def test_a_command_is_told_as_the_user_calls_it(argv: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CALLED, raising=False)
    monkeypatch.setattr(sys, "argv", [argv])
    assert as_called("shards verify a") == said
    monkeypatch.setenv(CALLED, "1")  # by moco-cxr, which has started this process
    assert as_called("shards verify a") == "moco-cxr shards verify a"


def test_pretraining_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CALLED, raising=False)
    monkeypatch.setattr(sys, "argv", ["train/pretrain.py"])
    assert as_called("pretrain debug") == "python train/pretrain.py debug"


def test_the_nearest_path_is_a_neighbour_of_nearly_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    assert nearest_path(tmp_path / "runs" / "firts") == f" Did you mean {tmp_path / 'runs' / 'first'}?"
    assert nearest_path(tmp_path / "runs" / "other") == ""
    assert nearest_path(tmp_path / "absent" / "first") == ""
