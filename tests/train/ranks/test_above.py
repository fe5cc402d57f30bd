"""What is seen of a launcher from below: a process that starts its arguments, behind its own options."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCHER = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[sys.argv.index('--') + 1:]).returncode)"
BELOW = """
import sys
from shards.base.errors import run_command
from train.ranks.above import command_above, refuse_lost_hostfile
sys.argv.insert(1, "--local_rank=1")
run_command(refuse_lost_hostfile)
"""
SHOWN = BELOW.replace(
    "run_command(refuse_lost_hostfile)", "print(*command_above()[0][3:6], command_above()[1]['OF_THE_LAUNCHER'])"
)


def run(script: str, *options: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    (folder / "below.py").write_text(script)
    inner = [sys.executable, "below.py", "debug", "--output", "a run"]
    return subprocess.run(
        [sys.executable, "-c", LAUNCHER, *options, "--", *inner],
        cwd=folder,
        env=os.environ | {"OF_THE_LAUNCHER": "yes"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_launcher_s_options_and_environment_are_seen(tmp_path: Path) -> None:
    done = run(SHOWN, "--master_port", "29700", folder=tmp_path)
    assert done.stdout == "--master_port 29700 -- yes\n", done.stderr


@pytest.mark.parametrize("options", [["--hostfile", "lost"], ["-H", "lost"], ["--hostfile=lost"], ["--host", "lost"]])
def test_a_hostfile_that_is_not_there_is_one_line(tmp_path: Path, options: list[str]) -> None:
    done = run(BELOW, *options, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --hostfile lost: no such file")
    assert done.stderr.count("\n") == 1


def test_a_hostfile_that_is_there_passes(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("localhost slots=2\n")
    assert run(BELOW, "--hostfile", "hosts", folder=tmp_path).returncode == 0
    assert run(BELOW, folder=tmp_path).returncode == 0
