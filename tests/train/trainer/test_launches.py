"""How many launches a GPU would be given in a step of MoCo v2: counted on a CPU, whose operators they are."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.gpu.launches import Launches
from tests.train.methods.conftest import Rows
from train.engine.optimizers import build_optimizer
from train.engine.torch_engine import TorchEngine
from train.methods.build import build_method
from train.methods.contract import TrainingData
from train.ranks.world import World
from train.settings.config import EncoderConfig, MethodConfig, NormConfig, PretrainConfig, RunConfig
from train.trainer import Trainer

BATCH, SIZE = 16, 64


def launches_of_a_step(encoder: str, strategy: str) -> int:
    """Of the second step, whose optimiser has its state."""
    world = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
    config = PretrainConfig(
        encoder=EncoderConfig(name=encoder),  # type: ignore[arg-type]
        method=MethodConfig(queue_size=64),
        norm=NormConfig(strategy=strategy),  # type: ignore[arg-type]
        run=RunConfig(batch_size=BATCH, precision="bf16"),
    )
    index: Any = Rows(np.arange(64), patients=lambda: np.arange(64))
    method = build_method(config, world, TrainingData(index))
    optimizer = build_optimizer(config.optimizer, method.model.parameters())
    engine = TorchEngine(method.model, optimizer, precision="bf16", clipping=0.0, world=world)
    trainer = Trainer(config, method, engine, batches_per_epoch=4)
    views = torch.randn(2, BATCH, 1, SIZE, SIZE).unbind(0)
    trainer.step(views, torch.arange(BATCH))
    with Launches() as launches:
        trainer.step(views, torch.arange(BATCH))
    return launches.total


@pytest.mark.parametrize(
    ("encoder", "strategy", "most"),
    [
        pytest.param("resnet18", "group", 400, marks=pytest.mark.slow),
        pytest.param("resnet18", "split", 800, marks=pytest.mark.slow),
        pytest.param("densenet121", "split", 4750, marks=pytest.mark.slow),
    ],
)
def test_a_step_is_so_many_launches(encoder: str, strategy: str, most: int) -> None:
    """With a batch norm call for each of four groups it was 1,035 for ResNet18 and 6,168 for DenseNet121."""
    counted = launches_of_a_step(encoder, strategy)
    assert 0.9 * most < counted <= most
