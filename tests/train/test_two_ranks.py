"""Two processes on one CPU: shuffle and unshuffle, and equal weights, key encoders and queues."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "two_ranks.py"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "settings",
    [
        ["shuffle,0,bf16"],
        pytest.param(["shuffle,0,fp32", "split,1,bf16", "group,2,bf16", "shuffle,2,bf16"], marks=pytest.mark.slow),
    ],
)
def test_two_ranks_agree(settings: list[str]) -> None:
    """Settings are norm strategy, ZeRO stage, precision."""
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
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
