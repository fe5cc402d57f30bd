"""Locks: one holder at a time, and those of the dead are taken over."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shards.base import locks
from shards.base.facts import boot_id
from shards.base.locks import Lock

OF_ANOTHER_MACHINE = '{"host": "elsewhere", "boot": "b", "pid": 1}'


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


HOLDER = """
import sys, time
from pathlib import Path
from shards.base.locks import Lock
with Lock(Path(sys.argv[1])).hold():
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path: Path, *inside: str) -> "subprocess.Popen[str]":
    """A process that has the lock, run by the command ``inside`` if any."""
    command = [*inside, sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def left_by_a_killed_process(path: Path) -> None:
    with holder(path) as process:
        with Lock(path).try_hold() as is_held:
            assert not is_held
        process.send_signal(signal.SIGKILL)
    assert path.exists()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    left_by_a_killed_process(path)
    with Lock(path).try_hold() as is_held:
        assert is_held
        here = {"host": socket.gethostname(), "boot": boot_id(), "pid": os.getpid()}
        assert here.items() <= json.loads(path.read_text()).items()
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


@pytest.mark.parametrize(
    "content", ['{"host": "elsewhere", "pid": 1, "token": "x"}', "filelock/2\npid=1\nhost=a\nmode=lease\n", "7", "[]"]
)
def test_a_lock_in_the_format_of_before_is_judged_by_its_silence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.lock"
    path.write_text(content)
    lock = short(path)
    with lock.try_hold() as is_held:
        assert not is_held
    assert taken_over(lock, within=10) is not None


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


def test_a_holder_who_was_silent_learns_that_others_came(tmp_path: Path) -> None:
    suspended = Lock(tmp_path / "a.lock", beat=1000)
    with suspended.try_hold() as is_held:
        assert is_held
        assert not suspended.is_lost()
        other = short(tmp_path / "a.lock")
        assert taken_over(other, within=5) is not None
        assert suspended.is_lost()  # though the other has freed it already
        with Lock(tmp_path / "a.lock").try_hold():
            assert suspended.is_lost()


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


CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.mark.skipif(
    subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode != 0,
    reason="process namespaces are not permitted here",
)
def test_process_numbers_of_containers_mean_nothing(tmp_path: Path) -> None:
    """The holder's number is 1 or 2 there, which here is another process, or none."""
    path = tmp_path / "a.lock"
    with holder(path, *CONTAINER) as container:
        assert json.loads(path.read_text())["pid"] < 10
        assert taken_over(short(path), within=0.3) is None
        with holder(tmp_path / "b.lock") as here:
            taken = subprocess.run(
                [*CONTAINER, sys.executable, "-c", TRY, str(tmp_path / "b.lock")], capture_output=True, text=True
            )
            assert taken.stdout == "False\n", taken.stderr
            here.kill()
        container.kill()
        container.wait()
        assert taken_over(Lock(path), within=5) is not None


TRY = """
import sys
from pathlib import Path
from shards.base.locks import Lock
with Lock(Path(sys.argv[1])).try_hold() as is_held:
    print(is_held)
"""


def test_machines_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if flock did not reach from one to the other: the file of a living holder there is free to lock here."""
    path = tmp_path / "a.lock"
    path.write_text(json.dumps({"host": socket.gethostname(), "boot": "another boot", "pid": 2**22 + 1}))
    lock = short(path)
    assert taken_over(lock, within=0.3) is None
    assert taken_over(lock, within=10) is not None
    path.write_text(json.dumps({"host": socket.gethostname(), "boot": None, "pid": 2**22 + 1}))
    monkeypatch.setattr(locks, "boot_id", lambda: None)  # hidden by the system, on both
    assert taken_over(short(path), within=0.3) is None


def test_without_the_systems_lock_only_silence_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "a.lock"
    with Lock(path).try_hold() as is_held:
        assert is_held
        assert json.loads(path.read_text())["boot"] is None
        assert taken_over(Lock(path), within=0.2) is None
    assert not path.exists()


@pytest.mark.parametrize("skew", [-86_400, 86_400])
def test_a_lock_of_any_date_is_judged_by_its_silence(tmp_path: Path, skew: int) -> None:
    path = tmp_path / "a.lock"
    path.write_text(OF_ANOTHER_MACHINE)
    os.utime(path, (time.time() + skew, time.time() + skew))
    lock = short(path)
    told = lock.held_by()
    assert told.startswith(f"process 1 of elsewhere has {path}")
    assert ("86,400 s ahead of the clock here" in told) == (skew > 0)
    seconds = taken_over(lock, within=10)
    assert seconds is not None
    assert 0.35 < seconds < 5


def test_a_wait_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "a.lock"
    path.write_text(OF_ANOTHER_MACHINE)
    monkeypatch.setattr(locks, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(locks, "_POLL_SECONDS", 0.05)
    with short(path).hold():
        told = capsys.readouterr().err
    assert told == f"waiting: process 1 of elsewhere has {path} and loses it when he has been silent for 0 s\n"


def test_many_take_over_and_one_holds_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    inside, most = [], []

    def contend() -> None:
        for _ in range(40):
            with Lock(path).try_hold() as is_held:
                if is_held:
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()

    left_by_a_killed_process(path)
    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert list(tmp_path.iterdir()) == []
