"""A whole MoCo step made of lightly's blocks beside the trainer's method: what faster blocks come to in a step.

Legend: B batch, H W pixels.
"""

import copy
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.measuring.data import PatientRows
from benchmarks.measuring.result import Comparison
from benchmarks.measuring.timing import time_variants
from benchmarks.step.peer_blocks import ABSENT, LIGHTLY, has_lightly
from benchmarks.step.reference import MOMENTUM, TEMPERATURE, WIDTH, ReferenceStep
from train.encoders.build import build_encoder
from train.engine.optimizers import build_optimizer
from train.engine.torch_engine import TorchEngine
from train.methods.contract import TrainingData
from train.methods.moco import MoCo
from train.ranks.world import World
from train.settings.config import EncoderConfig, MethodConfig, NormConfig, PretrainConfig, RunConfig, ScheduleConfig
from train.trainer import Trainer

PLAIN, METHOD = "plain: 3 channels", "ours (trainer's method)"
_QUEUE = 24_576

Views = tuple[Tensor, ...]
"""Two views, each (B, 1, H, W)."""


class LightlyStep:
    """A step as lightly's documentation makes it of its blocks: shuffled keys, and a memory bank inside the loss."""

    def __init__(self, encoder: str, *, queue: int, device: torch.device) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead

        backbone = build_encoder(encoder)
        features: Any = backbone.num_features
        self.query: nn.Module = nn.Sequential(backbone, MoCoProjectionHead(features, features, WIDTH)).to(device)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.criterion = NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(queue, WIDTH)).to(device)
        self.optimizer = torch.optim.Adam(self.query.parameters(), lr=1e-4, weight_decay=1e-4)

    def __call__(self, views: Views) -> Tensor:
        """The loss, before the weights move."""
        from lightly.models.utils import batch_shuffle, batch_unshuffle, update_momentum

        update_momentum(self.query, self.key, m=MOMENTUM)
        query = self.query(views[0])
        with torch.no_grad():
            shuffled, order = batch_shuffle(views[1])
            key = batch_unshuffle(self.key(shuffled), order)
        loss: Tensor = self.criterion(query, key)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def take(self, method: Any) -> None:
        """Takes over the weights and the queue of the trainer's method."""
        with torch.no_grad():
            for mine, theirs in ((self.query, method.model), (self.key, method.target)):
                for parameter, source in zip(mine.parameters(), theirs.parameters(), strict=True):
                    parameter.copy_(source)
        self.criterion.memory_bank.bank.copy_(method.negatives.keys)


def start_without_deepspeed(
    encoder: Literal["resnet18", "resnet50", "densenet121"],
    *,
    batch: int,
    norm: Literal["auto", "plain"],
    device: torch.device,
) -> Trainer:
    """A trainer of MoCo in fp32, in this process."""
    config = PretrainConfig(
        encoder=EncoderConfig(name=encoder),
        method=MethodConfig(queue_size=_QUEUE),
        norm=NormConfig(strategy=norm),
        schedule=ScheduleConfig(name="constant"),
        run=RunConfig(batch_size=batch, precision="fp32"),
    )
    index: Any = PatientRows(batch)
    world = World(rank=0, size=1, local_rank=0, device=device)
    method = MoCo(config, world, TrainingData(index))
    optimizer = build_optimizer(config.optimizer, method.model.parameters())
    engine = TorchEngine(method.model, optimizer, precision="fp32", clipping=0.0, world=world)
    return Trainer(config, method, engine, batches_per_epoch=1)


def compare_steps(
    encoder: Literal["resnet18", "resnet50", "densenet121"],
    *,
    size: int,
    batch: int,
    turns: int,
    device: torch.device,
) -> Comparison:
    """Steps in fp32 on the same ready-made views; with equal weights, queue and norm, all give the same losses."""
    generator = torch.Generator().manual_seed(0)
    views = tuple(torch.randn(2, batch, 1, size, size, generator=generator).to(device))
    colour = tuple(view.expand(-1, 3, -1, -1).contiguous() for view in views)
    reference = ReferenceStep(encoder, queue=_QUEUE, device=device)
    lightly = LightlyStep(encoder, queue=_QUEUE, device=device) if has_lightly() else None

    rows = torch.arange(batch)
    checked = start_without_deepspeed(encoder, batch=batch, norm="plain", device=device)
    reference.take(checked.method)
    if lightly is not None:
        lightly.take(checked.method)
    for tolerance in (2e-3, 2e-2):  # Adam's first step is as long where a gradient is nothing but rounding
        loss = checked.step(views, rows).loss.detach()
        torch.testing.assert_close(reference(colour), loss, rtol=tolerance, atol=tolerance)
        if lightly is not None:
            torch.testing.assert_close(lightly(views), loss, rtol=tolerance, atol=tolerance)

    ours = start_without_deepspeed(encoder, batch=batch, norm="auto", device=device)
    variants: dict[str, Callable[[], object]] = {PLAIN: lambda: reference(colour)}
    if lightly is not None:
        variants[f"{LIGHTLY}'s blocks"] = lambda: lightly(views)
    variants[METHOD] = lambda: ours.step(views, rows)
    return Comparison(
        title=f"peers: a whole step, {encoder}, {size} px, {device.type}",
        work=f"MoCo v2 in fp32 without a loader, batch {batch}, queue {_QUEUE:,}",
        rate=float(batch),
        unit="images",
        timings=time_variants(variants, turns=turns, device=device),
        remarks=(
            "the network takes nearly all of each, so that blocks that are several times as fast change little here",
            "ours splits batch norm into groups, so that it does not leak; the others take it over the whole batch",
            *(() if has_lightly() else (ABSENT,)),
        ),
    )
