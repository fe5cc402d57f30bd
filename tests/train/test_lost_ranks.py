"""Ranks that are stopped, killed or cut off: seconds until all the others have ended, and what they say of it."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.train.machines import machines_on_a_switch
from tests.train.processes import start_ranks
from train.ranks.watchdog import PATIENCE_SECONDS

TOGETHER = """
import sys, time
from shards.base.errors import run_command
from train.ranks.watchdog import Watchdog, run_together
from train.ranks.world import describe_world, start_processes

def body():
    world = describe_world()
    start_processes(world)
    Watchdog(world, patience=float(sys.argv[1]))
    world.barrier()
    time.sleep(3)  # until each knows who the others are
    print("together", flush=True)
    while True:
        world.barrier()
        time.sleep(.05)

run_command(lambda: run_together(body))
"""


def wait_for_all(ranks: list["subprocess.Popen[str]"]) -> None:
    for rank in ranks:
        assert rank.stdout is not None
        lines = []
        while (line := rank.stdout.readline()) != "together\n":
            lines.append(line)
            assert line, lines


def ends(ranks: list["subprocess.Popen[str]"], *, within: float) -> tuple[list[float], list[str]]:
    """Seconds from now until each has ended, and what each has said."""
    begin, seconds = time.monotonic(), [0.0 for _ in ranks]
    while any(rank.poll() is None for rank in ranks) and time.monotonic() - begin < within:
        seconds = [
            time.monotonic() - begin if rank.poll() is None else until
            for rank, until in zip(ranks, seconds, strict=True)
        ]
        time.sleep(0.1)
    alive = [rank for rank in ranks if rank.poll() is None]
    for rank in alive:
        rank.kill()
    said = [rank.communicate()[0] for rank in ranks]
    assert not alive, said
    print("seconds to the end of each rank:", [round(each, 1) for each in seconds])
    return seconds, said


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_stopped_rank_ends_all_and_is_killed_itself(stopped: int) -> None:
    ranks = start_ranks(["-c", TOGETHER, "5"])
    wait_for_all(ranks)
    ranks[stopped].send_signal(signal.SIGSTOP)
    _, said = ends(ranks, within=30)
    assert ranks[stopped].returncode == -signal.SIGKILL
    assert said[1 - stopped].count("error:") == said[1 - stopped].count(f"no sign of life from rank {stopped}") == 1


@pytest.mark.slow
def test_ranks_that_are_stopped_together_go_on_together() -> None:
    ranks = start_ranks(["-c", TOGETHER, "5"])
    wait_for_all(ranks)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for rank in ranks:
            rank.send_signal(number)
        time.sleep(12)
    assert [rank.poll() for rank in ranks] == [None, None]
    for rank in ranks:
        rank.kill()
        rank.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["down", "silent"])
def test_a_link_that_is_cut_ends_all_within_a_minute(tmp_path: Path, how: str) -> None:
    """Two machines of two ranks each; each machine tells it once."""
    with machines_on_a_switch(tmp_path) as machines:
        ranks = [
            machines.start(rank // 2, ["-c", TOGETHER, str(PATIENCE_SECONDS)], rank=rank, size=4, local_rank=rank % 2)
            for rank in range(4)
        ]
        wait_for_all(ranks)
        machines.cut(how)
        seconds, said = ends(ranks, within=100)
    assert min(seconds) > PATIENCE_SECONDS - 5
    assert max(seconds) < 60
    assert [rank.returncode for rank in ranks] == [1] * 4
    for number in (0, 1):
        there = "".join(said[2 * number : 2 * number + 2])
        assert there.count("error: no sign of life from rank") == there.count("error") == 1, there
        assert "Traceback" not in there


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "number"), [(0, "SIGSTOP"), (1, "SIGSTOP"), (0, "SIGKILL"), (1, "SIGKILL")])
def test_a_rank_that_is_lost_on_another_machine(tmp_path: Path, rank: int, number: str) -> None:
    with machines_on_a_switch(tmp_path) as machines:
        ranks = [machines.start(each, ["-c", TOGETHER, "8"], rank=each, size=2) for each in range(2)]
        wait_for_all(ranks)
        ranks[rank].send_signal(getattr(signal, number))
        _, (said,) = ends([ranks[1 - rank]], within=60)
        ranks[rank].kill()  # stopped, and alone on its machine: nobody there ends it
        ranks[rank].communicate()
    assert said.count("error:") == 1, said
    assert ("no sign of life" if number == "SIGSTOP" else "ended without a word") in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_link_between_two_that_both_reach_rank_0(tmp_path: Path) -> None:
    with machines_on_a_switch(tmp_path, 3) as machines:
        ranks = [machines.start(rank, ["-c", TOGETHER, str(PATIENCE_SECONDS)], rank=rank, size=3) for rank in range(3)]
        wait_for_all(ranks)
        machines.cut_between(1, 2)
        seconds, said = ends(ranks, within=100)
    assert min(seconds) > PATIENCE_SECONDS - 5
    assert max(seconds) < 60
    assert [rank.returncode for rank in ranks] == [1] * 3
    everything = "".join(said)
    assert everything.count("error: all 3 ranks have waited for one another") == everything.count("error") == 1
    assert all(name in everything for name in machines.names)
    assert "Traceback" not in everything
