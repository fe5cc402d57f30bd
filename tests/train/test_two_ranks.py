"""Two processes on one CPU: shuffle and unshuffle, equal weights, key encoders and queues, one stop for both."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from train.methods import METHODS

SCRIPT = Path(__file__).parent / "two_ranks.py"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "settings",
    [
        ["shuffle", "stop", "train,shuffle,2,bf16"],
        pytest.param(
            [f"train,{norm},{stage},{precision}" for norm, stage, precision in (
                ("shuffle", 0, "fp32"), ("split", 1, "bf16"), ("group", 2, "fp32"), ("split", 0, "bf16"),
                ("group", 1, "fp32"),
            )],
            marks=pytest.mark.slow,
        ),
        pytest.param([f"equal,{name},{stage}" for name in METHODS for stage in (0, 2)], marks=pytest.mark.slow),
    ],
    ids=["fast", "stages and precisions", "methods"],
)  # fmt: skip
def test_two_ranks_agree(settings: list[str]) -> None:
    """Settings are: train, norm strategy, ZeRO stage, precision; or: equal, method, ZeRO stage."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *settings],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=400)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
