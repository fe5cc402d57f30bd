"""The settings of a pretraining run, ``PretrainConfig``, and their checks at the door."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro

from pipeline.views import PRESETS, ViewSpec
from shards.errors import InputError
from train.sections import (
    EncoderConfig,
    LoaderConfig,
    MethodConfig,
    NormConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    SelectionConfig,
)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A pretraining run."""

    data: tuple[str, ...] = ()
    """Dataset folders that ``shards build`` wrote, or their addresses (https://, s3://, ...); several are trained on as
    one."""
    output: Path | None = None
    """Run folder. The same command over an existing one resumes it."""
    recipe: tyro.conf.Suppress[str] = "custom"
    """Name of the recipe these settings came from; recorded, not acted on."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    views: ViewSpec = PRESETS["moco_cxr"]
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    run: RunConfig = field(default_factory=RunConfig)


def norm_strategy(config: PretrainConfig, world_size: int) -> Literal["split", "shuffle", "group"]:
    """The strategy that ``norm.strategy`` amounts to on this number of processes."""
    if config.norm.strategy == "auto":
        return "split" if world_size == 1 else "shuffle"
    return config.norm.strategy


def check_config(config: PretrainConfig, *, world_size: int) -> None:
    """Refuses settings that cannot work, or that would silently do something else than what they say.

    Raises:
        InputError: naming the field, its value and the remedy.
    """
    method, norm, run = config.method, config.norm, config.run
    ranges: list[tuple[str, Any, bool, str]] = [
        ("selection.fraction", config.selection.fraction, 0 < config.selection.fraction <= 1, "above 0 to 1"),
        ("loader.threads", config.loader.threads, config.loader.threads >= 0, "0 or above"),
        ("loader.resident_gb", config.loader.resident_gb, config.loader.resident_gb >= 0, "0 or above"),
        ("method.momentum", method.momentum, 0 <= method.momentum < 1, "0 to below 1, usually .99 to .9999"),
        ("method.temperature", method.temperature, method.temperature > 0, "above 0, usually .07 to .2"),
        ("method.queue_size", method.queue_size, method.queue_size > 0, "above 0"),
        ("method.embedding", method.embedding, method.embedding > 1, "above 1, usually 128"),
        ("method.projector_hidden", method.projector_hidden, method.projector_hidden >= 0, "0 or above"),
        ("norm.num_groups", norm.num_groups, norm.num_groups > 1, "2 or more; one group would leak"),
        ("optimizer.lr", config.optimizer.lr, config.optimizer.lr > 0, "above 0"),
        ("optimizer.weight_decay", config.optimizer.weight_decay, config.optimizer.weight_decay >= 0, "0 or above"),
        ("schedule.warmup_epochs", config.schedule.warmup_epochs, config.schedule.warmup_epochs >= 0, "0 or above"),
        ("run.epochs", run.epochs, run.epochs > 0, "1 or more"),
        ("run.batch_size", run.batch_size, run.batch_size > 1, "2 or more"),
        ("run.gradient_accumulation", run.gradient_accumulation, run.gradient_accumulation > 0, "1 or more"),
        ("run.gradient_clipping", run.gradient_clipping, run.gradient_clipping >= 0, "0 or above"),
        ("run.checkpoint_every", run.checkpoint_every, run.checkpoint_every > 0, "1 or more"),
        ("run.keep_checkpoints", run.keep_checkpoints, run.keep_checkpoints > 0, "1 or more"),
        ("run.log_every", run.log_every, run.log_every > 0, "1 or more"),
    ]
    if not config.data:
        raise InputError("--data: not given; name one or more dataset folders that `shards build` wrote")
    if config.output is None:
        raise InputError("--output: not given; name a folder for the run")
    for name, value, is_right, wanted in ranges:
        if not is_right:
            raise InputError(f"{name} {value}: out of range; {wanted}")
    if run.zero_stage == 3:
        raise InputError(
            "run.zero_stage 3: would leave each process a part of the query's weights, so the momentum encoder could "
            "not follow them; use 0, 1 or 2"
        )
    if run.zero_stage not in (0, 1, 2):
        raise InputError(f"run.zero_stage {run.zero_stage}: no such stage; use 0, 1 or 2")
    strategy = norm_strategy(config, world_size)
    if strategy == "shuffle" and world_size == 1:
        raise InputError(
            "norm.strategy shuffle: does nothing with one process, and batch norm would leak which key belongs to "
            "which query; use split, or start several processes with: deepspeed --num_accelerators N"
        )
    if strategy == "split" and (run.batch_size % norm.num_groups or run.batch_size < 2 * norm.num_groups):
        raise InputError(
            f"norm.num_groups {norm.num_groups}: does not split run.batch_size {run.batch_size} into equal groups of "
            "2 or more; choose a divisor"
        )
    if method.queue_size < run.batch_size * world_size:
        raise InputError(
            f"method.queue_size {method.queue_size}: smaller than the {run.batch_size * world_size} keys of one step; "
            "raise it, or lower run.batch_size"
        )


def check_rows(config: PretrainConfig, *, num_rows: int, world_size: int) -> None:
    """Refuses settings that do not fit ``num_rows`` selected images.

    Raises:
        InputError: naming the field, its value and the remedy.
    """
    batch = config.run.batch_size * world_size
    if batch > num_rows:
        raise InputError(
            f"run.batch_size {config.run.batch_size}: {batch} images a step over {world_size} process(es), but only "
            f"{num_rows} images are selected; lower it, or give more data"
        )
    if config.method.queue_size > num_rows:
        raise InputError(
            f"method.queue_size {config.method.queue_size}: larger than the {num_rows} images selected, so an image "
            f"would meet itself as a negative; use at most {num_rows}, or give more data"
        )
