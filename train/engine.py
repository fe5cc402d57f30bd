"""The DeepSpeed engine around the query network: optimiser, mixed precision, gradient exchange."""

import logging
import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from train.sections import OptimizerConfig
from train.world import World


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser as one fused kernel over all parameters. Its learning rate is set anew at each step."""
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
    match config.name:
        case "adam":
            return torch.optim.Adam(parameters, betas=config.betas, **common)
        case "adamw":
            return torch.optim.AdamW(parameters, betas=config.betas, **common)
    return torch.optim.SGD(parameters, momentum=config.sgd_momentum, **common)


def start_engine(query: nn.Module, optimizer: torch.optim.Optimizer, ds_config: dict[str, Any], world: World) -> Any:
    """The DeepSpeed engine of ``query``; the processes have been started. DeepSpeed is imported here, which takes 2 s.

    Returns:
        a ``deepspeed.DeepSpeedEngine``.
    """
    if world.device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # without it, DeepSpeed warns that it has found no GPU
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if world.device.type == "cpu":
        # DeepSpeed would compile a shared-memory all-reduce at the first run: half a minute, and a compiler needed,
        # for what gloo does as well.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    engine, *_ = deepspeed.initialize(model=query, optimizer=optimizer, config=ds_config)
    return engine


def loss_scaler(engine: Any) -> torch.amp.GradScaler | None:
    """The scaler of fp16 autocast, which DeepSpeed keeps in the engine or in the ZeRO optimiser; None otherwise."""
    scaler = engine.torch_autocast_z0_gradscaler or getattr(engine.optimizer, "torch_autocast_gradscaler", None)
    return scaler if isinstance(scaler, torch.amp.GradScaler) else None
