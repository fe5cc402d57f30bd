"""What makes a step of a model: DeepSpeed among several processes; torch alone in one, which may train dozens of cells
in a row."""

from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from train.encoders.norms import sync_batchnorm
from train.engine.deepspeed import deepspeed_config, start_engine
from train.engine.memory import keep_freed_memory
from train.engine.precision import Precision, resolve_precision, set_tf32
from train.engine.torch_engine import TorchEngine
from train.ranks.world import World
from train.settings.config import RunConfig


def build_engine(
    model: nn.Module,
    groups: list[dict[str, Any]],
    *,
    precision: Precision,
    clipping: float,
    batch_size: int,
    world: World,
) -> Any:
    """The engine of ``model`` with AdamW on parameter ``groups``.

    Args:
        batch_size: images a process and a step.
    """
    keep_freed_memory()
    set_tf32(precision)
    optimizer = torch.optim.AdamW(groups, fused=True)
    if world.size == 1:
        return TorchEngine(model, optimizer, precision=precision, clipping=clipping, world=world)
    run = RunConfig(batch_size=batch_size, gradient_clipping=clipping)
    return start_engine(model, optimizer, deepspeed_config(run, precision=precision, optimizer="adamw"), world)


def scaleless_precision(precision: Precision, device: torch.device) -> Literal["fp32", "tf32", "bf16"]:
    """The precision of a training: fp32 in place of fp16, which would need its loss scaled."""
    resolved = resolve_precision(precision, device)
    return "fp32" if resolved == "fp16" else resolved


def resolve_norm(encoder: nn.Module, norm: Literal["auto", "frozen", "trained"]) -> Literal["frozen", "trained"]:
    """``auto``: frozen, but trained where the running statistics are as they were made: normalising by them would leave
    a random start without any normalisation."""
    if norm != "auto":
        return norm
    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
    is_new = bool(norms) and all(not module.running_mean.any() for module in norms if module.running_mean is not None)
    return "trained" if is_new else "frozen"


def synced(model: nn.Module, norm: Literal["frozen", "trained"], world: World) -> nn.Module:
    """``model``, whose batch norm, where it is trained, takes its statistics over the images of all processes: what
    comes out does not depend on how many share a batch. To be called before its weights are given to an optimiser."""
    return sync_batchnorm(model) if norm == "trained" and world.size > 1 else model


def train_mode(model: nn.Module, norm: Literal["frozen", "trained"]) -> None:
    """Puts the model into training mode; frozen batch norm goes on with its running statistics, and only its scale and
    shift are learnt."""
    model.train()
    if norm == "frozen":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
