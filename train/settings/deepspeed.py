"""A DeepSpeed JSON of the user's own: what it may say is a list, checked before anything starts.

The list is what DeepSpeed (deepspeed.ai/docs/config-json) can be told about how gradients travel and what is logged.
What the method relies on is set by our own settings, and anything else is refused: DeepSpeed passes over a name that it
does not know, and finds a wrong value minutes later.
"""

import dataclasses
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from shards.base.bounds import PositiveCount
from shards.base.dataclass_io import from_mapping
from shards.base.errors import InputError
from shards.base.stored import read_json_object

# Settings that the loop relies on, and the field that sets each.
_OURS = {
    "train_batch_size": "run.batch_size",
    "train_micro_batch_size_per_gpu": "run.batch_size",
    "gradient_accumulation_steps": "run.gradient_accumulation",
    "torch_autocast": "run.precision",
    "optimizer": "optimizer.*",
    "scheduler": "schedule.*",
}
_CASTING = {"bf16": "bf16", "bfloat16": "bf16", "fp16": "fp16", "amp": "fp16"}
_CASTS = "casts the weights, so that small updates round away and batch norm loses precision"
_Bucket = Annotated[float, Field(ge=1, le=1e12)]  # DeepSpeed takes 5e8 for a whole number


@dataclass(frozen=True, kw_only=True)
class _Zero:
    stage: Annotated[int, Field(ge=0, le=2)] = 0
    contiguous_gradients: bool = True
    reduce_scatter: bool = True
    reduce_bucket_size: _Bucket = 5e8
    use_multi_rank_bucket_allreduce: bool = True
    allgather_partitions: bool = True
    allgather_bucket_size: _Bucket = 5e8
    overlap_comm: bool | None = None
    round_robin_gradients: bool = False
    ignore_unused_parameters: bool = True


@dataclass(frozen=True, kw_only=True)
class _Log:
    enabled: bool = False
    output_path: str = ""
    job_name: str = ""


@dataclass(frozen=True, kw_only=True)
class _Wandb:
    enabled: bool = False
    group: str | None = None
    team: str | None = None
    project: str = "deepspeed"


@dataclass(frozen=True, kw_only=True)
class _FlopsProfiler:
    enabled: bool = False
    profile_step: PositiveCount = 1
    module_depth: Annotated[int, Field(ge=-1, le=1000)] = -1
    top_modules: PositiveCount = 1
    detailed: bool = True
    output_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class _CommsLogger:
    enabled: bool = False
    verbose: bool = False
    prof_all: bool = True
    prof_ops: tuple[str, ...] = ()
    debug: bool = False


@dataclass(frozen=True, kw_only=True)
class _OwnJson:
    """Of a DeepSpeed JSON what a run takes over."""

    gradient_clipping: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    prescale_gradients: bool = False
    gradient_predivide_factor: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    communication_data_type: Literal["fp32"] | None = None
    zero_optimization: _Zero = field(default_factory=_Zero)
    zero_allow_untested_optimizer: bool = False
    steps_per_print: PositiveCount = 10
    wall_clock_breakdown: bool = False
    memory_breakdown: bool = False
    dump_state: bool = False
    flops_profiler: _FlopsProfiler = field(default_factory=_FlopsProfiler)
    comms_logger: _CommsLogger = field(default_factory=_CommsLogger)
    tensorboard: _Log = field(default_factory=_Log)
    csv_monitor: _Log = field(default_factory=_Log)
    wandb: _Wandb = field(default_factory=_Wandb)


def read_own_json(path: Path) -> dict[str, Any]:
    """What ``run.deepspeed`` names, as it is merged over the generated configuration.

    Raises:
        InputError: it cannot be read, is no JSON object, says what would break the method or what is not on the list,
            or logs by a package that is not installed.
    """
    try:
        own = read_json_object(path)
    except InputError as error:
        raise InputError(f"run.deepspeed {path}: {error}; give a DeepSpeed JSON") from None
    try:
        for name, setting in _OURS.items():
            if name in own:
                raise InputError(f"{name} is set by --{setting}; take it out of the file")
        own = {name: _switched_off(name, value) if name in _CASTING else value for name, value in own.items()}
        allowed = {name: value for name, value in own.items() if name not in _CASTING}
        _check_zero(allowed.get("zero_optimization", {}))
        _check_names(_OwnJson, allowed)
        asked = from_mapping(_OwnJson, allowed)
        for name, package in (("wandb", "wandb"), ("tensorboard", "tensorboard")):
            if getattr(asked, name).enabled and find_spec(package) is None:
                raise InputError(f"{name}.enabled true: the package {package} is not installed; install it")
    except InputError as error:
        raise InputError(f"run.deepspeed {path}: {error}") from None
    return own


def without_zero(optimizer: str, stage: int) -> None:
    """Refuses ZeRO under an optimiser that it would take the layers from.

    Raises:
        InputError: naming both remedies.
    """
    if optimizer == "lars" and stage:
        raise InputError(
            f"run.zero_stage {stage}: ZeRO cuts the weights of all layers as one flat vector, so lars could not scale "
            "the step layer by layer; use run.zero_stage 0, or another optimizer.name"
        )


def _switched_off(name: str, section: Any) -> dict[str, bool]:
    """A section of a precision that is off, without the rest of it.

    Raises:
        InputError: it is on, or says neither.
    """
    if not isinstance(section, dict) or section.get("enabled", False) is not False:
        raise InputError(f"{name}.enabled {_CASTS}; take it out and use --run.precision {_CASTING[name]}")
    return {"enabled": False}


def _check_zero(section: Any) -> None:
    if not isinstance(section, dict):
        raise InputError(f'zero_optimization {section!r} is no JSON object; give {{"stage": ...}}')
    if section.get("stage") == 3:
        raise InputError(
            "zero_optimization.stage 3 would leave each process a part of the query's weights, so the momentum encoder "
            "could not follow them; use 0, 1 or 2"
        )


def _check_names(kind: type, mapping: dict[str, Any], prefix: str = "") -> None:
    fields = {each.name: each.default_factory for each in dataclasses.fields(kind)}
    for name, value in mapping.items():
        if name not in fields:
            raise InputError(f"{prefix}{name}: is not among what a run takes over; these are {', '.join(fields)}")
        if isinstance(value, dict) and isinstance(inner := fields[name], type):
            _check_names(inner, value, f"{prefix}{name}.")
