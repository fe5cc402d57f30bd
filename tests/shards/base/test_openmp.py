import os
import subprocess
import sys

import pytest

from shards.base.openmp import spin_briefly
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("own", "count"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_what_the_user_says_stands(monkeypatch, own, count):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    spin_briefly()
    assert os.environ.get("GOMP_SPINCOUNT") == count


def test_it_is_set_before_openmp_is_loaded():
    """Libraries read it then, and OpenMP itself tells what it read: no command has loaded one by the time it begins."""
    commands = ("moco_cxr.command", "train.pretrain", "train", "eval", "pipeline", "shards", "benchmarks")
    starts = [f"import {name if '.' in name else f'{name}.__main__'}" for name in commands]
    starts.append("from shards.base.errors import run_command")
    starts.append("run_command(lambda: print(__import__('torch').__name__))")
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(starts)],
        env=environment | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    counts = {line.split("=")[1].strip() for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line}
    assert counts == {"'10000'"}
