"""Locks: one holder at a time, and those of the dead are taken over."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shards.base.locks import Lock

OF_ANOTHER_MACHINE = "filelock/2\npid=1\nhost=elsewhere\nmode=lease\ntoken=a\nduration=0.3\n"


def short(path: Path) -> Lock:
    return Lock(path, beat=0.1, lease=0.3)


def taken_over(lock: Lock, *, within: float) -> float | None:
    """Seconds after which the lock was to be had; None where it was not."""
    begin = time.monotonic()
    while time.monotonic() - begin < within:
        with lock.try_hold() as is_held:
            if is_held:
                return time.monotonic() - begin
        time.sleep(0.02)
    return None


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.lock"
    with Lock(path).try_hold() as first:
        assert first
        with Lock(path).try_hold() as second:
            assert not second
        assert path.exists()  # the loser does not free it
    assert list(path.parent.iterdir()) == []
    with Lock(path).try_hold() as again:
        assert again


def test_a_lock_is_freed_where_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Lock(tmp_path / "a.lock").try_hold():
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def left_by_a_killed_process(path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from shards.base.locks import Lock\n"
    code += "with Lock(Path(sys.argv[1])).hold(): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with Lock(path).try_hold() as is_held:
            assert not is_held
        process.send_signal(signal.SIGKILL)
    assert path.exists()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    left_by_a_killed_process(path)
    with Lock(path).try_hold() as is_held:
        assert is_held
        assert f"pid={os.getpid()}\nhost={socket.gethostname()}\n" in path.read_text()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_another_machine_is_judged_by_its_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text(OF_ANOTHER_MACHINE)
    lock, stop = short(path), threading.Event()

    def beat() -> None:
        while not stop.wait(0.05):
            os.utime(path)

    heart = threading.Thread(target=beat)
    heart.start()
    assert taken_over(lock, within=1.0) is None
    stop.set()
    heart.join()
    seconds = taken_over(lock, within=10)
    assert seconds is not None
    assert seconds > 0.2
    assert list(tmp_path.iterdir()) == []


def test_a_lock_without_content_is_judged_by_its_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.touch()
    lock = short(path)
    with lock.try_hold() as is_held:  # being written
        assert not is_held
    assert taken_over(lock, within=10) is not None  # its writer died


def test_a_lock_in_the_format_of_before_is_judged_by_its_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text('{"host": "elsewhere", "pid": 1, "token": "x"}')
    lock = short(path)
    with lock.try_hold() as is_held:
        assert not is_held
    assert taken_over(lock, within=10) is not None


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system as NFS, which cannot swap two names."""
    for module in ("_soft", "_util"):
        monkeypatch.setattr(f"filelock.{module}.exchange_names", lambda source, target: False)


@pytest.mark.usefixtures("no_exchange")
def test_where_names_cannot_be_swapped_dead_locks_are_taken_over_by_their_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    for leave in (left_by_a_killed_process, lambda path: path.write_text(OF_ANOTHER_MACHINE)):
        leave(path)
        lock = short(path)
        seconds = taken_over(lock, within=10)
        assert seconds is not None
        assert seconds > 0.35
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_exchange")
def test_a_lock_that_another_took_over_first_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, new = tmp_path / "a.lock", tmp_path / "new"
    path.write_text(OF_ANOTHER_MACHINE)
    lock, rename = short(path), Path.rename

    def too_late(self: Path, target: Path) -> Path:
        new.write_text("the new holder's")
        new.replace(path)
        monkeypatch.undo()
        return rename(self, target)

    monkeypatch.setattr("shards.base.locks.Path.rename", too_late)
    assert taken_over(lock, within=0.6) is None
    assert path.read_text() == "the new holder's"
    assert list(tmp_path.iterdir()) == [path]


def test_the_holder_keeps_its_lock_young(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with Lock(path, beat=0.02).try_hold():
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert path.stat().st_mtime > 0


def test_a_lock_that_was_taken_over_is_left_to_its_holder(tmp_path: Path) -> None:
    path, new = tmp_path / "a.lock", tmp_path / "new"
    with Lock(path).try_hold():
        new.write_text("another's")
        new.replace(path)
    assert path.read_text() == "another's"


def test_waiting_ends_when_the_lock_is_free(tmp_path: Path) -> None:
    path, entered = tmp_path / "a.lock", threading.Event()

    def wait() -> None:
        with Lock(path).hold():
            entered.set()

    with Lock(path).try_hold():
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.05)
        assert not entered.is_set()
    waiting.join(5)
    assert entered.is_set()
