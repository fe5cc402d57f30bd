"""The DeepSpeed engine around what is trained: mixed precision, gradient exchange, optimiser step."""

import logging
import os
from typing import Any

import torch
from torch import nn

from train.world import World


def start_engine(model: nn.Module, optimizer: torch.optim.Optimizer, ds_config: dict[str, Any], world: World) -> Any:
    """The DeepSpeed engine of ``model``; the processes have been started. DeepSpeed is imported here, which takes 2 s.

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
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=ds_config)
    return engine


def loss_scaler(engine: Any) -> torch.amp.GradScaler | None:
    """The scaler of fp16 autocast, which DeepSpeed keeps in the engine or in the ZeRO optimiser; None otherwise."""
    scaler = engine.torch_autocast_z0_gradscaler or getattr(engine.optimizer, "torch_autocast_gradscaler", None)
    return scaler if isinstance(scaler, torch.amp.GradScaler) else None
