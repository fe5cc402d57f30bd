"""Processes that really die, hang and eat memory; see ``hostile.py``."""

import os
import signal
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from shards.sandbox.sandbox import Killed, Limits, Lost, Sandbox
from tests.shards.sandbox.hostile import double, fails_after_much_else, process_number

SHORT = Limits(seconds=0.3, memory_bytes=1 << 30)


def doubled(items):
    with Sandbox(double, SHORT) as sandbox:
        return list(sandbox.map(items))


def test_results_come_in_order_whatever_their_number_and_size():
    items = [str(number) * (1 << number % 22) for number in range(40)]
    assert doubled(items) == [item * 2 for item in items]
    assert doubled([]) == []


@pytest.mark.parametrize(
    ("item", "lost"),
    [
        ("aborts", Lost("died", "SIGABRT")),
        ("crashes", Lost("died", "SIGSEGV")),
        ("leaves", Lost("died", "exit code 3")),
        ("panics", Lost("died", "exit code 1")),
        ("computes", Lost("seconds")),
        ("eats", Lost("memory")),
    ],
)
def test_what_ends_its_process_is_lost_and_nothing_else(item, lost):
    assert doubled(["a", item, "b", "c"]) == ["aa", lost, "bb", "cc"]


def test_many_losses_among_many_items():
    items = [f"{number}" for number in range(30)]
    items[0] = items[13] = items[14] = items[29] = "aborts"
    found = doubled(items)
    assert found == [Lost("died", "SIGABRT") if item == "aborts" else item * 2 for item in items]


def test_a_process_that_sleeps_is_ended_by_the_clock():
    with Sandbox(double, Limits(seconds=0.05)) as sandbox:
        assert list(sandbox.map(["sleeps", "a"])) == [Lost("seconds"), "aa"]


def test_an_item_is_judged_alone():
    """Where a process dies of what came before, nothing is lost: each item succeeds in a process that is new."""
    with Sandbox(fails_after_much_else) as sandbox:
        assert list(sandbox.map(range(12))) == list(range(12))


def test_a_kill_from_outside_is_no_fault_of_the_item():
    with pytest.raises(Killed, match="--workers: a process was killed, most likely .* memory ran out; repeat .* fewer"):
        doubled(["a", "is killed", "b"])


def test_what_a_function_raises_is_raised_in_its_place_with_where_it_came_from():
    found = []
    with Sandbox(double) as sandbox, pytest.raises(ValueError, match="no double of this") as raised:
        found.extend(sandbox.map(["a", "raises", "b"]))
    assert found == ["aa"]
    assert "hostile.py" in "".join(traceback.format_exception(raised.value))


def test_processes_are_used_again_and_end_when_nobody_asks():
    with Sandbox(process_number) as sandbox:
        [first] = sandbox.map([0])
    with Sandbox(process_number) as sandbox:
        [second] = sandbox.map([0])
        assert second == first
        next(sandbox.map([0, 1]))  # left with an answer to come
    assert not psutil.pid_exists(first)


@pytest.mark.parametrize("end", [signal.SIGALRM, signal.SIGKILL, signal.SIGTERM])
def test_processes_that_ended_while_they_were_idle_cost_no_item(end):
    """Idle ones end by a clock of their own, a minute later, and the system may end them before."""
    sandboxes = [Sandbox(process_number) for _ in range(3)]
    with ExitStack() as stack:
        numbers = [next(stack.enter_context(each).map([0])) for each in sandboxes]
    children = [psutil.Process(number) for number in numbers]
    for child in children:
        child.send_signal(end)
    for child in children:
        while child.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
    assert doubled([1, 2, 3]) == [2, 4, 6]


def test_children_hold_no_file_of_their_parent(tmp_path: Path):
    """Such as the lock of a build, which would outlive it."""
    with (tmp_path / "lock").open("wb"), Sandbox(process_number) as sandbox:
        [number] = sandbox.map([0])
        held = {os.readlink(entry) for entry in Path(f"/proc/{number}/fd").iterdir()}
    assert str(tmp_path / "lock") not in held


def test_several_sandboxes_work_at_a_time():
    with Sandbox(process_number) as one, Sandbox(process_number) as other:
        numbers = {next(one.map([0])), next(other.map([0]))}
    assert len(numbers) == 2
    assert os.getpid() not in numbers


def test_no_core_is_dumped_and_nothing_is_printed(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert doubled(["aborts"]) == [Lost("died", "SIGABRT")]
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_the_seconds_are_those_of_each_item():
    begin = time.monotonic()
    with Sandbox(double, SHORT) as sandbox:
        assert list(sandbox.map(["computes", "a", "computes"])) == [Lost("seconds"), "aa", Lost("seconds")]
    assert time.monotonic() - begin < 30
