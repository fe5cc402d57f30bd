"""One of two processes fails: the other must not wait for it, and one error is shown."""

import socket
import subprocess
import time

import pytest

from tests.train.processes import free_port, start_ranks

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
