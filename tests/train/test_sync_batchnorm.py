"""Statistics over all ranks, on CPUs."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
import torchvision
from torch import nn

from train.batchnorm import ordinary_batchnorm, sync_batchnorm
from train.sync_batchnorm import SyncBatchNorm2d

SCRIPT = Path(__file__).parent / "sync_two_ranks.py"
ROOT = Path(__file__).parents[2]


def test_two_processes_equal_one_of_twice_the_batch() -> None:
    """Outputs, gradients of inputs and weights, running statistics; fp32, channels-last, bf16."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)


def test_conversion_there_and_back_is_one_to_one() -> None:
    network = torchvision.models.resnet18()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    sync_batchnorm(network)
    assert sum(isinstance(layer, SyncBatchNorm2d) for layer in network.modules()) == 20
    assert network.state_dict().keys() == state.keys()
    ordinary_batchnorm(network)
    assert sum(type(layer) is nn.BatchNorm2d for layer in network.modules()) == 20
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_without_processes_it_is_an_ordinary_batch_norm() -> None:
    images = torch.randn(4, 6, 5, 5)
    assert torch.equal(sync_batchnorm(nn.BatchNorm2d(6))(images), nn.BatchNorm2d(6)(images))
