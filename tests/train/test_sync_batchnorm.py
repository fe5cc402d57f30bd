"""Statistics over all ranks, on CPUs."""

from pathlib import Path

import torch
import torchvision
from torch import nn

from tests.train.ranks import run_ranks
from train.batchnorm import ordinary_batchnorm, sync_batchnorm
from train.sync_batchnorm import SyncBatchNorm2d

SCRIPT = Path(__file__).parent / "sync_two_ranks.py"


def test_two_processes_equal_one_of_twice_the_batch() -> None:
    """Outputs, gradients of inputs and weights, running statistics; fp32, channels-last, bf16."""
    run_ranks(SCRIPT)


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
