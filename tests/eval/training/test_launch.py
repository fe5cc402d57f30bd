"""Which GPUs several processes take; and a command that is killed leaves none of them behind, and no workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from eval.training.launch import choose_devices
from shards.base.errors import InputError
from tests.conftest import ROOT

GRID = """
data: [{data}]
label: [sick]
starts: {{random: random}}
architecture: resnet18
size: 32
readout: [finetune]
fraction: [0.2, 0.5, 1.0]
draws: 2
device: cpu
jobs: {jobs}
finetune: {{num_processes: {num_processes}, max_steps: 100000, min_steps: 100000, batch_size: 8, patience: 0}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "num_processes"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_grid_that_is_killed(
    packed: Path, tmp_path: Path, number: int, jobs: int, num_processes: int
) -> None:
    path, output = tmp_path / "grid.yaml", tmp_path / "out"
    path.write_text(GRID.format(data=packed, jobs=jobs, num_processes=num_processes))
    command = [sys.executable, "-m", "eval", "grid", str(path), "--output", str(output)]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}) as grid:
        family, deadline = psutil.Process(grid.pid), time.monotonic() + 240
        while sum(map(computes, family.children(recursive=True))) < 2:
            assert grid.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        time.sleep(20)  # until they train
        left = family.children(recursive=True)
        grid.send_signal(number)
        begin = time.monotonic()
    _, alive = psutil.wait_procs(left, timeout=60)
    print(f"{len(left)} processes were gone after {time.monotonic() - begin:.1f} s")
    for each in alive:
        each.kill()
    assert not alive


def computes(process: psutil.Process) -> bool:
    """Whether it is a worker of the grid, or a rank."""
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "multiprocessing.spawn" in command or "-m eval.finetune.run" in command


@pytest.fixture
def with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("with_gpus")
def test_the_first_of_the_chosen_gpus_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_devices(2, device="auto") is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5, 6")
    assert choose_devices(2, device="auto") == "4,5"
    assert choose_devices(3, device="cuda") == "4,5,6"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937,GPU-d2e5")
    assert choose_devices(2, device="auto") == "GPU-8932f937,GPU-d2e5"


@pytest.mark.usefixtures("with_gpus")
def test_the_cpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert choose_devices(2, device="cpu") == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_devices(2, device="auto") == ""


@pytest.mark.usefixtures("with_gpus")
@pytest.mark.parametrize(
    ("visible", "device", "said"),
    [
        ("4", "auto", "CUDA_VISIBLE_DEVICES 4: 1 GPU.s. for 2 processes; choose more"),
        ("0,1", "cuda:1", "--device cuda:1: is one GPU, for 2 processes"),
    ],
)
def test_gpus_that_two_processes_cannot_have(
    monkeypatch: pytest.MonkeyPatch, visible: str, device: str, said: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(InputError, match=said):
        choose_devices(2, device=device)
