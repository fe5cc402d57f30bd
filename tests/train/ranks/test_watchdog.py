"""One of two processes fails: the other must not wait for it, and one error is shown."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from shards.base.errors import InputError
from tests.train.processes import free_port, start_ranks
from train.ranks import watchdog
from train.ranks.watchdog import Watchdog
from train.ranks.world import World

SCRIPT = """
import os, signal, sys, time
from shards.base.errors import InputError, run_command
from train.ranks.watchdog import Watchdog, run_together
from train.ranks.world import describe_world, start_processes

def body():
    world = describe_world()
    start_processes(world)
    watchdog = Watchdog(world)
    world.barrier()
    failing, how = int(sys.argv[1]), sys.argv[2]
    if world.rank == failing:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise {"mistake": InputError, "fault": ValueError}[how]("rank says what is wrong")
    while how == "asleep" or how == "mistake":
        time.sleep(1)
    world.barrier()

run_command(lambda: run_together(body))
"""


def start(*arguments: str, port: int) -> list["subprocess.Popen[str]"]:
    return start_ranks(["-c", SCRIPT, *arguments], port=port)


@pytest.mark.parametrize(
    ("failing", "how", "said", "status"),
    [
        (1, "mistake", "error: rank says what is wrong", 2),  # the other is busy, and would be for ever
        pytest.param(0, "mistake", "error: rank says what is wrong", 2, marks=pytest.mark.slow),
        pytest.param(1, "fault", "ValueError: rank says what is wrong", 1, marks=pytest.mark.slow),
        pytest.param(0, "fault", "ValueError: rank says what is wrong", 1, marks=pytest.mark.slow),
        pytest.param(1, "killed", "has ended without a word", -9, marks=pytest.mark.slow),
        pytest.param(0, "killed", "has ended without a word", -9, marks=pytest.mark.slow),
    ],
)
def test_both_end_and_one_speaks(failing: int, how: str, said: str, status: int) -> None:
    processes = start(str(failing), how, port=free_port())
    processes[failing].wait(timeout=120)
    failed = time.monotonic()
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    assert time.monotonic() - failed < 30
    assert processes[failing].returncode == status
    assert processes[1 - failing].returncode not in (0, None)
    text = "\n".join(outputs)
    assert text.count(said) == 1, text
    assert text.count("Traceback") == (how == "fault"), text


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        processes = start("0", "mistake", port=taken.getsockname()[1])
        processes[1].kill()  # the first fails before they would meet
        processes[1].communicate()
        out, _ = processes[0].communicate(timeout=60)
    assert processes[0].returncode == 2
    lines = [line for line in out.splitlines() if not line.startswith("[W")]  # the C++ below has its say
    assert len(lines) == 1
    assert lines[0].startswith("error: MASTER_PORT ")
    assert "deepspeed --master_port N" in lines[0]


class Store:
    """A store in memory, whose other rank (0) beats until ``dies``; it does not answer any more once ``hangs``."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.dies, self.hangs, self.stands = False, threading.Event(), False

    def clone(self) -> "Store":
        return self

    def add(self, key: str, number: int) -> int:
        if self.hangs.is_set():
            time.sleep(3600)
        self.values[key] = self.values.get(key, 0) + number
        return int(self.values[key])

    def set(self, key: str, value: str) -> None:
        self.values[key] = value
        self.values["process/0"] = value  # another process, as far as this one knows

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)

    def multi_get(self, keys: list[str]) -> list[bytes]:
        self.values["beats/0"] += 0 if self.dies else 1
        if self.stands:
            self.values |= {"stands/0": 350, "stands/1": 301}
        return [str(self.values[key]).encode() for key in keys]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", lambda: made)
    monkeypatch.setattr(watchdog, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(watchdog, "_LEAD_SECONDS", 0.02)
    monkeypatch.setattr(watchdog, "_DOOR_SECONDS", 0.1)
    monkeypatch.setattr(watchdog, "_HAS_SPOKEN", threading.Lock())
    monkeypatch.setattr(watchdog, "_IS_ENDING", threading.Event())
    monkeypatch.setattr(watchdog, "_IS_FOLLOWING", threading.Event())
    return made


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes with which this process would have ended."""
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise SystemExit  # of this thread alone

    monkeypatch.setattr(os, "_exit", end)
    return codes


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def watch() -> Iterator[Callable[[], Watchdog]]:
    """Makes the watchdog of rank 1."""
    made: list[Watchdog] = []

    def make() -> Watchdog:
        world = World(rank=1, size=2, local_rank=1, device=torch.device("cpu"))
        made.append(Watchdog(world, patience=0.3))
        time.sleep(0.1)
        return made[-1]

    yield make
    for each in made:
        each._closed.set()


in_threads = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@in_threads
def test_a_rank_that_falls_silent_is_told_and_all_end(
    store: Store, ended: list[int], watch: Callable[[], Watchdog], capfd: pytest.CaptureFixture[str]
) -> None:
    watch()
    time.sleep(0.6)
    assert not ended, "it beats"
    store.dies = True
    wait_until(lambda: ended)
    assert set(ended) == {1}
    assert store.values["failed ranks"] == 1
    said = capfd.readouterr().err
    assert said.startswith(f"error: no sign of life from rank 0 ({socket.gethostname()}) for 0 s, says rank 1: ")
    assert said.count("\n") == 1


@in_threads
def test_ranks_that_all_stand_still_are_told_and_all_end(
    store: Store, ended: list[int], watch: Callable[[], Watchdog], capfd: pytest.CaptureFixture[str]
) -> None:
    watch()
    store.values["stands/0"] = 10_000
    time.sleep(0.1)
    assert not ended, "this one works"
    store.stands = True
    wait_until(lambda: ended)
    assert set(ended) == {1}
    said = capfd.readouterr().err
    assert said.startswith("error: all 2 ranks have waited for one another for 0 s, says rank 1, though each reaches")
    assert said.count("\n") == 1


@in_threads
def test_a_store_that_does_not_answer_is_not_waited_for(
    store: Store, ended: list[int], watch: Callable[[], Watchdog], capfd: pytest.CaptureFixture[str]
) -> None:
    watch()
    store.hangs.set()
    begin = time.monotonic()
    wait_until(lambda: ended)
    assert time.monotonic() - begin < 3
    assert capfd.readouterr().err.count("no sign of life from rank 0") == 1


@in_threads
def test_who_has_an_error_of_its_own_is_not_told_as_lost(
    store: Store, ended: list[int], watch: Callable[[], Watchdog], capfd: pytest.CaptureFixture[str]
) -> None:
    """It has counted in the store, and is silent from then on."""
    watch()
    store.add("failed ranks", 1)
    store.dies = True
    wait_until(lambda: ended)
    assert set(ended) == {1}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("state", ["hangs", "has gone"])
def test_an_error_is_told_though_the_store_does_not_answer(
    store: Store, ended: list[int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    if state == "hangs":
        store.hangs.set()
    else:
        monkeypatch.setattr(store, "add", lambda key, number: (_ for _ in ()).throw(RuntimeError("closed")))
    group = SimpleNamespace(get_rank=lambda: 1, distributed_c10d=dist.distributed_c10d)
    with pytest.raises(SystemExit):
        watchdog._end(InputError("run.epochs 0: give 1 or more"), group)
    assert ended == [2]
    assert capfd.readouterr().err == "error: run.epochs 0: give 1 or more\n"


def test_the_end_of_a_run_is_no_loss(
    store: Store, ended: list[int], watch: Callable[[], Watchdog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "barrier", lambda self: None)
    made = watch()
    made.close()
    store.dies = True
    monkeypatch.setattr(store, "multi_get", lambda keys: (_ for _ in ()).throw(RuntimeError("closed")))
    time.sleep(0.8)
    assert not ended
