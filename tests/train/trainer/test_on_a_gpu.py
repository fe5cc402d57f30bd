"""A step of every method on a device without content: nothing on two devices, nothing that the host waits for."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from tests.gpu.fake import DEVICE, FakeCuda
from tests.train.methods.conftest import Rows, build_tiny
from train.engine.optimizers import build_optimizer
from train.engine.precision import Precision
from train.engine.torch_engine import TorchEngine
from train.methods.build import build_method
from train.methods.contract import TrainingData
from train.methods.moco import MoCo
from train.ranks.world import World
from train.run.guards import LossWatch
from train.run.monitor import Window
from train.settings.config import (
    EncoderConfig,
    MethodConfig,
    NormConfig,
    OptimizerConfig,
    PretrainConfig,
    RunConfig,
)
from train.settings.methods import METHODS
from train.trainer import Trainer

BATCH = 8
ENCODERS = ("resnet18", "resnet50", "densenet121", "vit_small", "vit_small_moco_v3")


def waits_of_steps(
    name: str,
    strategy: str,
    *,
    precision: Precision = "bf16",
    encoder: str | None = None,
    num_ranks: int = 1,
    optimizer: str = "adam",
    **method: Any,
) -> Counter[str]:
    """Of two steps with what the loop does beside them, on rank 1 of ``num_ranks``, or alone."""
    config = PretrainConfig(
        encoder=EncoderConfig(name=encoder or "resnet18"),  # type: ignore[arg-type]
        method=MethodConfig(name=name, embedding=32, projector_hidden=48, predictor_hidden=24, queue_size=64, **method),
        norm=NormConfig(strategy=strategy),  # type: ignore[arg-type]
        optimizer=OptimizerConfig(name=optimizer),  # type: ignore[arg-type]
        run=RunConfig(batch_size=BATCH, precision=precision),
    )
    index: Any = Rows(np.arange(64), patients=lambda: np.arange(64) // 2)
    size = 64 if encoder else 32
    with FakeCuda() as cuda:
        world = World(rank=num_ranks - 1, size=num_ranks, local_rank=0, device=DEVICE)
        built = build_method(config, world, TrainingData(index))
        chosen = build_optimizer(config.optimizer, built.model.parameters())
        engine = TorchEngine(built.model, chosen, precision=precision, clipping=1.0, world=world)
        trainer = Trainer(config, built, engine, batches_per_epoch=8)
        watch, window = LossWatch(index, None, world), Window(16)  # type: ignore[arg-type]
        for _ in range(2):
            views = tuple(torch.empty(BATCH, 1, size, size, device=DEVICE) for _ in range(2))
            with cuda.watching():
                before, rows = trainer.progress, torch.arange(0, 2 * BATCH, 2)
                objective = trainer.step(views, rows)
                watch.observe(objective.loss, before, rows)
                window.put(objective.features)
        assert all(p.grad is None and p.device == DEVICE for p in built.model.parameters())
        assert all(buffer.device == DEVICE for buffer in built.buffers())
        assert objective.loss.dtype == torch.float32
    return cuda.found


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.methods.embedder.build_encoder", build_tiny)


@pytest.fixture
def two_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another rank would send has no content either."""
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    for name in ("all_gather_into_tensor", "all_reduce"):
        monkeypatch.setattr(dist, name, lambda *tensors: None)


def own_strategy(name: str) -> str:
    return "split" if METHODS[name].has_queue else "plain"


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "name",
    ["moco_v2plus", "moco_v3", *(pytest.param(name, marks=pytest.mark.slow) for name in METHODS if "moco" not in name)],
)
def test_no_method_waits(name: str) -> None:
    assert not waits_of_steps(name, own_strategy(name))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("strategy", ["split", "group"])
@pytest.mark.parametrize("name", METHODS)
def test_no_precision_and_norm_waits(name: str, strategy: str, precision: Precision) -> None:
    assert not waits_of_steps(name, strategy, precision=precision)


@pytest.mark.usefixtures("tiny", "two_ranks")
@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("swav", "sync"),
        *(pytest.param(name, strategy, marks=pytest.mark.slow) for name in METHODS for strategy in ("shuffle", "sync")),
    ],
)
def test_no_exchange_between_ranks_waits(name: str, strategy: str) -> None:
    assert not waits_of_steps(name, strategy, num_ranks=2)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_no_encoder_waits(encoder: str) -> None:
    names = ("moco_v3",) if encoder.startswith("vit") else ("moco_v2", "byol")
    for name in names:
        assert not waits_of_steps(name, own_strategy(name), encoder=encoder)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_no_optimiser_and_mask_waits() -> None:
    assert not waits_of_steps("moco_v2", "split", optimizer="lars", mask_same_patient=True)


PLANTING = "a position on the device"
PLANTED: dict[str, tuple[str, Callable[[MoCo, torch.Tensor], object]]] = {
    "a loss that is looked at": ("the host reads", lambda method, views: float(views.mean())),
    "a choice by the queue": ("the host reads", lambda method, views: 1 if method.negatives.patients.any() else 2),
    "a position on the device": ("an upload blocks", lambda method, views: torch.tensor([3], device=views.device)),
    "a copy that blocks": ("an upload blocks", lambda method, views: torch.arange(8).to(views.device)),
    "a copy from pageable": (
        "an upload from memory that is not pinned",
        lambda method, views: torch.arange(8).to(views.device, non_blocking=True),
    ),
    "a synchronisation": ("synchronize", lambda method, views: torch.cuda.synchronize()),
}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "fault", [PLANTING, *(pytest.param(each, marks=pytest.mark.slow) for each in PLANTED if each != PLANTING)]
)
def test_planted_faults_are_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    what, act = PLANTED[fault]
    sound = MoCo.objective

    def objective(self: MoCo, forward: Any, views: Any, **more: Any) -> Any:
        act(self, views[0])
        return sound(self, forward, views, **more)

    monkeypatch.setattr(MoCo, "objective", objective)
    assert {where.partition(" at ")[0] for where in waits_of_steps("moco_v2", "split")} == {what}


@pytest.mark.usefixtures("tiny")
def test_a_tensor_left_on_the_host_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.methods.moco.upload", lambda host, device: host)
    with pytest.raises(Exception, match="device"):
        waits_of_steps("moco_v2", "split", mask_same_patient=True)
