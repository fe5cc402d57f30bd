"""The checks of a benchmark's settings at the door: their bounds, and what no single field can tell."""

from pathlib import Path
from typing import Any

from benchmarks.settings import HotpathConfig, MultimodalBenchConfig, PeersConfig, ScalingConfig, StepConfig
from shards.base.dataclass_io import check_fields
from shards.base.errors import InputError


def check_settings(config: Any, profile: Path | None = None) -> None:
    """Refuses settings out of range or that do not go together, and a device that is not here.

    Args:
        profile: where a trace is to be written.

    Raises:
        InputError: naming the field.
    """
    check_fields(config, "--")
    if profile is not None:
        check_trace_path(profile)
    match config:
        case HotpathConfig(step_batch=int(batch)):
            _check_queue(batch, max(config.queue), "--step-batch")
        case StepConfig():
            _check_queue(config.batch, config.queue)
        case ScalingConfig():
            _check_queue(config.batch * max(config.ranks), config.queue)
        case PeersConfig():
            for batch, queue in ((batch, queue) for batch in config.batch for queue in config.queue):
                if queue % batch:
                    raise InputError(f"--queue {queue}: MoCo's own code asks for a multiple of --batch {batch}")
        case MultimodalBenchConfig():
            if config.batch > config.pairs:
                raise InputError(f"--batch {config.batch}: larger than --pairs {config.pairs}; lower it")
    device = getattr(config, "device", "cpu")
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: must be cpu or cuda")
    if device == "cuda":
        from pipeline.device import find_device  # imports torch, which takes seconds

        find_device(device, field="--device")


def check_trace_path(path: Path) -> None:
    """To be asked before what is measured ahead of the profile.

    Raises:
        InputError: the name does not end in .json or .json.gz, or is that of a folder.
    """
    if not path.name.endswith((".json", ".json.gz")) or path.is_dir():
        raise InputError(f"--profile {path}: is no name for a trace; give a file that ends in .json or .json.gz")


def _check_queue(keys: int, queue: int, batch: str = "--batch") -> None:
    if keys > queue:
        raise InputError(f"--queue {queue}: smaller than the {keys} keys of one step; raise it, or lower {batch}")
