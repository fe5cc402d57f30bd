"""The settings of a pretraining run: ``PretrainConfig``, its checks at the door, and its YAML form.

Every field is an option of the command line: ``--section.field value``.
"""

import dataclasses
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
import yaml

from pipeline.views import PRESETS, ViewSpec
from shards.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which rows of the datasets are trained on. Labels are never read."""

    split: str = "train"
    """Split of the index, or ``all``."""
    view: Literal["all", "frontal", "lateral"] = "all"
    """View position."""
    fraction: float = 1.0
    """Share of the patients, above 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The network that is kept."""

    name: Literal["resnet18", "resnet50", "densenet121"] = "resnet18"
    """Architecture, with torchvision's parameter names and one input channel."""
    weights: str = "random"
    """``random``, ``imagenet`` (torchvision's, downloaded) or a file of torchvision weights (.pth)."""
    channels_last: bool = True
    """Channels-last activations: 1.1 times the speed of ResNet18 on a CPU; meant for GPUs in bf16."""


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """The self-supervised method."""

    name: Literal["moco_v2"] = "moco_v2"
    momentum: float = 0.999
    """Share of the key encoder that is kept at each step."""
    temperature: float = 0.2
    queue_size: int = 24_576
    """Past keys that serve as negatives. At most the number of images, or an image meets itself as a negative."""
    embedding: int = 128
    """Width of the embedding that is contrasted."""
    projector_hidden: int = 0
    """Width of the projector's hidden layer; 0 is the width of the encoder's features."""
    projector_norm: bool = False
    """Batch norm behind both layers of the projector, as in MoCo v3 (Chen et al. 2021). Without it, large steps at a
    random start can move all embeddings together, away from the older keys in the queue, instead of telling images
    apart: pretext accuracy near 100 % with uniformity near 0."""


@dataclass(frozen=True, kw_only=True)
class NormConfig:
    """What keeps batch norm from leaking which key belongs to which query."""

    strategy: Literal["auto", "split", "shuffle", "group"] = "auto"
    """``split``: statistics of groups inside each rank, keys grouped anew. ``shuffle``: keys are dealt to other ranks
    (needs several processes; costs an all-gather of the images). ``group``: group norm instead of batch norm.
    ``auto``: split with one process, shuffle with several."""
    num_groups: int = 4
    """Groups inside a rank for ``split``; divides the batch size."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights follow gradients."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-4
    """Learning rate at the top of the schedule."""
    weight_decay: float = 1e-4
    """L2 penalty for adam and sgd, decoupled decay for adamw."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Averaging of gradient and squared gradient, for adam and adamw."""
    sgd_momentum: float = 0.9
    """For sgd."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate changes, step by step."""

    name: Literal["constant", "step", "cosine"] = "cosine"
    """``cosine`` ends at 0; ``step`` multiplies by ``gamma`` at each milestone."""
    warmup_epochs: float = 0.0
    """Linear rise from 0 at the start."""
    milestones: tuple[float, ...] = ()
    """Epochs, for ``step``."""
    gamma: float = 0.1
    """Factor at a milestone, for ``step``."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long, how large, how fast, and what is written when."""

    epochs: int = 20
    batch_size: int = 128
    """Images a process and a step."""
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """What convolutions and matrix products are computed in; all state stays fp32. ``auto``: bf16 on GPUs and on CPUs
    with AVX512-BF16 or AMX, else fp32."""
    engine: Literal["auto", "dali", "kornia"] = "auto"
    """Loader engine."""
    loader_threads: int = 0
    """Decoding threads a process; 0 leaves the choice to the loader."""
    zero_stage: int = 0
    """DeepSpeed ZeRO stage, 0 to 2."""
    gradient_accumulation: int = 1
    """Batches whose gradients are added up before each optimiser step."""
    gradient_clipping: float = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    deepspeed: Path | None = None
    """A DeepSpeed JSON of your own, merged over the generated one."""
    deterministic: bool = False
    """Deterministic kernels on GPUs, at some cost; CPUs are deterministic anyway."""
    checkpoint_every: int = 500
    """Optimiser steps between checkpoints; the end of the run always writes one."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept."""
    log_every: int = 20
    """Optimiser steps between lines of metrics. Only then are values read back from the device."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A pretraining run."""

    data: tuple[Path, ...] = ()
    """Dataset folders that ``shards build`` wrote; several are trained on as one."""
    output: Path | None = None
    """Run folder. The same command over an existing one resumes it."""
    recipe: tyro.conf.Suppress[str] = "custom"
    """Name of the recipe these settings came from; recorded, not acted on."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
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
        ("run.loader_threads", run.loader_threads, run.loader_threads >= 0, "0 or above"),
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


def to_mapping(config: PretrainConfig) -> dict[str, Any]:
    """Plain nested dictionaries, lists, numbers and strings, as YAML and JSON hold them."""
    mapping: dict[str, Any] = _plain(dataclasses.asdict(config))
    return mapping


def to_yaml(config: PretrainConfig) -> str:
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def from_yaml(text: str) -> PretrainConfig:
    """The inverse of :func:`to_yaml`.

    Raises:
        InputError: an unknown field, with the nearest known one, or a value of the wrong type.
    """
    return from_mapping(PretrainConfig, yaml.safe_load(text))


def from_mapping(kind: type[Any], mapping: Any, prefix: str = "") -> Any:
    """Builds the dataclass ``kind`` from plain dictionaries, strictly.

    Raises:
        InputError: an unknown field, with the nearest known one, or a value of the wrong type.
    """
    if not isinstance(mapping, dict):
        raise InputError(f"{prefix or 'config'} {mapping!r}: is no section; give field: value lines")
    hints = get_type_hints(kind)
    for name in mapping:
        if name not in hints:
            nearest = difflib.get_close_matches(str(name), hints, n=1, cutoff=0)[0]
            raise InputError(f"{prefix}{name}: no such field; did you mean {prefix}{nearest}?")
    return kind(**{name: _typed(hints[name], value, f"{prefix}{name}") for name, value in mapping.items()})


def differing_fields(old: PretrainConfig, new: PretrainConfig) -> list[str]:
    """Names of the fields in which two configs differ, as in ``run.epochs``."""
    first, second = _flat(to_mapping(old)), _flat(to_mapping(new))
    return [name for name in second if first.get(name) != second[name]]


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case Path():
            return str(value)
    return value


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _typed(hint: Any, value: Any, name: str) -> Any:
    """``value`` as the type ``hint`` says; only the kinds of hints used in this file."""
    if dataclasses.is_dataclass(hint):
        return from_mapping(hint, value, f"{name}.")  # type: ignore[arg-type]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):  # only "X | None"
        return None if value is None else _typed(arguments[0], value, name)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            return tuple(_typed(kind, item, name) for kind, item in zip(kinds, value, strict=True))
    elif origin is Literal and value in arguments:
        return value
    elif hint is Path and isinstance(value, str):
        return Path(value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    wanted = " or ".join(map(str, arguments)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise InputError(f"{name} {value!r}: give {wanted}")
