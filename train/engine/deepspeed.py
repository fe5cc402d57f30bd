"""The DeepSpeed engine around what is trained: mixed precision, gradient exchange, optimiser step. Its configuration is
generated from ours, with the user's own JSON merged over it."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from shards.base.errors import InputError, needing
from train.engine.partitions import step_without_waiting
from train.engine.precision import DTYPES
from train.ranks.world import World
from train.settings.config import RunConfig
from train.settings.deepspeed import read_own_json, without_zero


def deepspeed_config(run: RunConfig, *, precision: str, optimizer: str) -> dict[str, Any]:
    """The configuration for ``deepspeed.initialize``.

    Mixed precision is ``torch_autocast`` and never ``bf16`` or ``fp16``, which cast modules: weights, batch norm and
    optimiser state stay fp32.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``, resolved.
        optimizer: name of the optimiser.

    Raises:
        InputError: of :func:`train.settings.deepspeed.read_own_json`; or settings that do not go together.
    """
    generated: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": run.batch_size,
        "gradient_accumulation_steps": run.gradient_accumulation,
        "gradient_clipping": run.gradient_clipping,
        "zero_optimization": {"stage": run.zero_stage},
        "steps_per_print": 10**9,  # our own monitor reports
        "timers": {"throughput": {"enabled": False}},  # would wait for the device in every forward and step
    }
    if precision in DTYPES:
        generated["torch_autocast"] = {
            "enabled": True,
            "dtype": str(DTYPES[precision]).removeprefix("torch."),
            # Layers whose gradients ZeRO would exchange in that type too; none, so stages 0 to 2 compute the same.
            "lower_precision_safe_modules": [],
        }
    if optimizer == "sgd":
        generated["zero_allow_untested_optimizer"] = True
    merged = generated if run.deepspeed is None else _merge(generated, read_own_json(run.deepspeed))
    stage = merged["zero_optimization"]["stage"]
    without_zero(optimizer, stage)
    if precision == "fp16" and merged["gradient_clipping"] and stage:
        raise InputError(
            f"run.gradient_clipping {merged['gradient_clipping']:g}: with fp16 and ZeRO, DeepSpeed clips gradients "
            "still multiplied by the loss scale; use run.precision bf16, run.zero_stage 0 or no clipping"
        )
    return merged


def start_engine(model: nn.Module, optimizer: torch.optim.Optimizer, ds_config: dict[str, Any], world: World) -> Any:
    """The DeepSpeed engine of ``model``; the processes have been started. DeepSpeed is imported here, which takes 2 s.

    Returns:
        a ``deepspeed.DeepSpeedEngine``.
    """
    if world.device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # without it, DeepSpeed warns that it has found no GPU
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with needing("train", "training among processes"):
        import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if world.device.type == "cpu":
        # DeepSpeed would compile a shared-memory all-reduce at the first run: half a minute, and a compiler needed,
        # for what gloo does as well.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    _forget_former_group()
    with _local_rank(world):
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=_without_waits(ds_config))
    is_scaled = ds_config.get("torch_autocast", {}).get("dtype") == "float16"
    step_without_waiting(engine, most=ds_config["gradient_clipping"], is_scaled=is_scaled)
    return engine


def _forget_former_group() -> None:
    """DeepSpeed keeps its copy of the group of all ranks for ever; a second run in one process, as in a notebook, has
    another one."""
    from deepspeed.utils import groups

    if groups._WORLD_GROUP not in torch.distributed.distributed_c10d._world.pg_group_ranks:
        groups._WORLD_GROUP = None


def _without_waits(ds_config: dict[str, Any]) -> dict[str, Any]:
    """What DeepSpeed is given: at ZeRO 1 and 2 without what it reads back in each step, which is then ours."""
    zero = ds_config["zero_optimization"]
    if not zero["stage"]:
        return ds_config
    return ds_config | {"gradient_clipping": 0.0, "zero_optimization": zero | {"compute_grad_norm": False}}


@contextlib.contextmanager
def _local_rank(world: World) -> Iterator[None]:
    """DeepSpeed takes the number of this process's device from LOCAL_RANK, which plain python does not set."""
    before = os.environ.get("LOCAL_RANK")
    os.environ["LOCAL_RANK"] = str(world.local_rank)
    try:
        yield
    finally:
        if before is None:
            del os.environ["LOCAL_RANK"]
        else:
            os.environ["LOCAL_RANK"] = before


def loss_scaler(engine: Any) -> torch.amp.GradScaler | None:
    """The scaler of fp16 autocast, which DeepSpeed keeps in the engine or in the ZeRO optimiser; None otherwise."""
    scaler = engine.torch_autocast_z0_gradscaler or getattr(engine.optimizer, "torch_autocast_gradscaler", None)
    return scaler if isinstance(scaler, torch.amp.GradScaler) else None


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merge(merged[name], value) if both else value
    return merged
