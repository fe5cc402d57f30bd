"""Locks: one holder at a time, and those of the dead are taken over."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shards.base.locks import claimed, claimed_in_turn


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.lock"
    with claimed(path) as first:
        assert first
        with claimed(path) as second:
            assert not second
        assert path.exists()  # the loser does not free it
    assert list(path.parent.iterdir()) == []
    with claimed(path) as again:
        assert again


def test_a_lock_is_freed_where_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), claimed(tmp_path / "a.lock"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path = tmp_path / "a.lock"
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": ended.pid, "token": "x"}))
    with claimed(path) as is_mine:
        assert is_mine
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("age", "expected"), [(30.0, False), (90.0, True)])
def test_the_lock_of_another_machine_is_judged_by_its_age(age: float, expected: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": os.getpid(), "token": "x"}))
    now = time.time()
    os.utime(path, (now - age, now - age))
    with claimed(path, stale=60) as is_mine:
        assert is_mine == expected


def test_a_lock_without_content_is_judged_by_its_age(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.touch()
    with claimed(path) as is_mine:  # being written
        assert not is_mine
    os.utime(path, (0, 0))
    with claimed(path) as is_mine:  # its writer died
        assert is_mine


def test_a_lock_that_another_took_over_first_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.lock"
    path.write_text("the new holder's")
    monkeypatch.setattr("shards.base.locks._abandoned", lambda *_: "the dead one's")
    with claimed(path) as is_mine:
        assert not is_mine
    assert path.read_text() == "the new holder's"
    assert list(tmp_path.iterdir()) == [path]


def test_the_holder_keeps_its_lock_young(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with claimed(path, beat=0.02):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert path.stat().st_mtime > 0


def test_a_lock_that_was_taken_over_is_left_to_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with claimed(path):
        path.write_text("another's")
    assert path.read_text() == "another's"


def test_waiting_ends_when_the_lock_is_free(tmp_path: Path) -> None:
    path, entered = tmp_path / "a.lock", threading.Event()

    def wait() -> None:
        with claimed_in_turn(path):
            entered.set()

    with claimed(path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.05)
        assert not entered.is_set()
    waiting.join(5)
    assert entered.is_set()
