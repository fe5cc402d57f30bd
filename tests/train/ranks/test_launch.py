"""Several processes of this machine: their places, their end, and what they are told."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from train.ranks.launch import ASKED_BY, run_processes

PROGRAM = """
import json, os, pathlib, signal, sys, time
pathlib.Path(sys.argv[1], os.environ["RANK"]).write_text(json.dumps([dict(os.environ), sys.path]))
exec(sys.argv[2])
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    (tmp_path / "ranks").mkdir()
    return path


def test_each_process_knows_its_place_and_imports_what_this_one_does(program: Path, tmp_path: Path) -> None:
    assert run_processes([str(program), str(tmp_path / "ranks"), "pass"], 2) == 0
    found = [json.loads((tmp_path / "ranks" / str(rank)).read_text()) for rank in range(2)]
    for rank, (environment, path) in enumerate(found):
        assert (environment["RANK"], environment["LOCAL_RANK"], environment["WORLD_SIZE"]) == (
            str(rank),
            str(rank),
            "2",
        )
        assert environment["MASTER_ADDR"] == "127.0.0.1"
        assert environment[ASKED_BY] == str(os.getpid())
        assert str(tmp_path) not in path, "the folder of the program, where others may lie"
        assert path[0] == str(Path(__file__).parents[3])
    assert found[0][0]["MASTER_PORT"] == found[1][0]["MASTER_PORT"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("sys.exit(2 if os.environ['RANK'] == '1' else 0)", 2),
        ("os.kill(os.getpid(), 9) if os.environ['RANK'] == '0' else None", 137),
    ],
)
def test_the_status_is_that_of_the_one_that_fails(program: Path, tmp_path: Path, code: str, status: int) -> None:
    assert run_processes([str(program), str(tmp_path / "ranks"), code], 2) == status


def test_those_that_do_not_end_when_one_has_failed_are_ended(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.ranks.launch._PATIENCE_SECONDS", 0.3)
    code = "sys.exit(3) if os.environ['RANK'] == '1' else time.sleep(600)"
    assert run_processes([str(program), str(tmp_path / "ranks"), code], 2) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_goes_to_all(program: Path, tmp_path: Path, number: int) -> None:
    code = (
        f"signal.signal({number}, lambda *_: sys.exit(0)); pathlib.Path(sys.argv[1], 'up' + os.environ['RANK']).touch()"
    )
    code += "; time.sleep(600)"

    def send() -> None:
        while len(list((tmp_path / "ranks").glob("up*"))) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    thread = threading.Thread(target=send)
    thread.start()
    assert run_processes([str(program), str(tmp_path / "ranks"), code], 2) == 0
    thread.join()
    assert signal.getsignal(number) is before


def test_nothing_of_what_is_said_is_lost_or_all_of_it_where_asked(program: Path, tmp_path: Path) -> None:
    call = f"run_processes([{str(program)!r}, {str(tmp_path / 'ranks')!r}, 'print(1); print(2, file=sys.stderr)'], 1"
    for quiet, out in (("", "1\n"), (", is_quiet=True", "")):
        code = f"from train.ranks.launch import *; {call}{quiet})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == (out, "2\n")
