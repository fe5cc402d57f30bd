"""Whole runs of the debug recipe as processes, and how they ended. Not a test by itself."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.train.processes import start_ranks
from train.run.metrics_file import read_metrics

ENTRY = ROOT / "train" / "pretrain.py"
SETTINGS = ["--run.epochs", "2", "--run.checkpoint-every", "3"]  # 8 steps
WATCHING = ["--run.knn-label", "blob"]


def start(data: Path, output: Path, *settings: str, launcher: list[str] | None = None) -> "subprocess.Popen[str]":
    command = [*(launcher or [sys.executable]), str(ENTRY), "debug", "--data", str(data), "--output", str(output)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the launcher starts the python it finds first
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path}
    return subprocess.Popen(
        [*command, *settings],
        env={name: value for name, value in environment.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def start_run_on_ranks(data: Path, output: Path, *settings: str, size: int = 2) -> list["subprocess.Popen[str]"]:
    """One process a rank, without the launcher."""
    command = [str(ENTRY), "debug", "--data", str(data), "--output", str(output), *settings]
    return start_ranks(command, size=size, joins=False)


def wait_for(found: Callable[[], object], *processes: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 180
    while not found():
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def last_step(output: Path) -> int:
    return max((line["step"] for line in read_metrics(output / "metrics.jsonl")), default=0)


def checkpoint_steps(output: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (output / "checkpoints").glob("step-*"))


def assert_equal_ends(one: Path, other: Path, step: int) -> None:
    """The same weights, key encoder, queue and optimiser state, bit for bit."""

    def leaves(value: object, name: str = "") -> dict[str, object]:
        if not isinstance(value, dict):
            return {name: value}
        return {key: leaf for inner, item in value.items() for key, leaf in leaves(item, f"{name}/{inner}").items()}

    first, second = (leaves(torch.load(run / "checkpoints" / f"step-{step:08d}" / "state.pt")) for run in (one, other))
    assert first.keys() == second.keys()
    assert len(first) > 200
    different = [
        name for name, value in first.items() if not torch.equal(torch.as_tensor(value), torch.as_tensor(second[name]))
    ]  # type: ignore[arg-type]
    assert not different
    weights = [load_file(run / "encoder.safetensors") for run in (one, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def finish(process: "subprocess.Popen[str]") -> tuple[str, str]:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return out, err
