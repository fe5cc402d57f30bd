"""Accumulated, clipped and exchanged gradients under DeepSpeed are those of plain PyTorch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "engine_steps.py"
ROOT = Path(__file__).parents[2]
# fp32 first: what DeepSpeed's autocast has set up for one engine of a process, the next one keeps.
ALONE = ["0,fp32,lars,2,0.02", "1,fp32,sgd,2,0.02", "2,fp32,adamw,2,0.02", "0,bf16,sgd,1,0.02", "0,fp16,sgd,1,0.02"]
TOGETHER = ["0,fp32,sgd,2,0.02", "1,fp32,sgd,2,0.02", "2,fp32,sgd,2,0.02", "2,bf16,adam,1,0"]
MORE = [f"{stage},{precision},sgd,1,0" for stage in (1, 2) for precision in ("bf16", "fp16")]


@pytest.mark.parametrize(
    ("num_processes", "settings"),
    [
        (1, ALONE),
        pytest.param(2, TOGETHER, marks=pytest.mark.slow),
        pytest.param(1, MORE, marks=pytest.mark.slow),
    ],
)
def test_steps_equal_plain_pytorch(num_processes: int, settings: list[str]) -> None:
    """Settings are ZeRO stage, precision, optimiser, gradient accumulation, gradient clipping."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": str(num_processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *settings],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(num_processes)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * num_processes, "\n".join(outputs)
