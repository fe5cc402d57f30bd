"""What ``run.compile`` compiles: each forward as one graph, which computes what it does without."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.train.methods.conftest import Rows, build_tiny
from train.engine.optimizers import build_optimizer
from train.engine.torch_engine import TorchEngine
from train.methods.build import build_method
from train.methods.contract import Method, TrainingData
from train.ranks.world import World
from train.settings.config import EncoderConfig, MethodConfig, NormConfig, PretrainConfig, RunConfig
from train.trainer import Trainer, compile_networks

BATCH = 8
WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


def make(name: str, strategy: str, encoder: str = "resnet18") -> tuple[Method, Trainer]:
    config = PretrainConfig(
        encoder=EncoderConfig(name=encoder),  # type: ignore[arg-type]
        method=MethodConfig(name=name, embedding=32, projector_hidden=48, predictor_hidden=24, queue_size=32),
        norm=NormConfig(strategy=strategy),  # type: ignore[arg-type]
        run=RunConfig(batch_size=BATCH, precision="fp32"),
    )
    index: Any = Rows(np.arange(64), patients=lambda: np.arange(64))
    method = build_method(config, WORLD, TrainingData(index))
    optimizer = build_optimizer(config.optimizer, method.model.parameters())
    engine = TorchEngine(method.model, optimizer, precision="fp32", clipping=0.0, world=WORLD)
    return method, Trainer(config, method, engine, batches_per_epoch=8)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that are traced, which are run as they are; none may break."""
    found: list[Any] = []

    def keep(graph: Any, inputs: Any) -> Any:
        found.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(nn.Module, "compile", functools.partialmethod(nn.Module.compile, backend=keep, fullgraph=True))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "strategy", "num_graphs"), [("moco_v2", "split", 2), ("moco_v3", "group", 2), ("swav", "plain", 1)]
)
def test_forward_and_key_forward_are_a_graph_each_and_compute_the_same(
    name: str, strategy: str, num_graphs: int, graphs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.methods.embedder.build_encoder", build_tiny)
    (plain, plain_trainer), (compiled, trainer) = make(name, strategy), make(name, strategy)
    compile_networks(compiled)
    views = torch.randn(2, BATCH, 1, 32, 32).unbind(0)
    for _ in range(3):
        ours, theirs = (each.step(views, torch.arange(BATCH)) for each in (trainer, plain_trainer))
        torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-4, atol=1e-5)
    assert len(graphs) == num_graphs
    for (key, value), other in zip(compiled.state_dict().items(), plain.state_dict().values(), strict=True):
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["resnet18", "densenet121", "vit_small"])
def test_encoders_are_one_graph(encoder: str, graphs: list[Any]) -> None:
    method, _ = make("moco_v2", "split", encoder)
    compile_networks(method)
    assert method.model(torch.randn(BATCH, 1, 64, 64)).embedding.shape == (BATCH, 32)
    assert len(graphs) == 1
