"""Which engine makes the views, and where decoded pixels stay: as the user says, or by device, dataset and memory."""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import torch

from pipeline.engines.contract import Engine
from pipeline.engines.resident import DeviceStore, PixelStore, decoded_bytes
from pipeline.engines.samples import Samples
from pipeline.engines.warps import is_compiled
from pipeline.options import EngineName
from pipeline.ranks import gather, have_met
from pipeline.views import ViewSpec
from shards.base.errors import InputError, needing
from shards.base.facts import available_memory
from shards.base.words import as_size
from shards.index import ShardIndex

_SHARE = 0.5  # of what is free, for pixels: the rest is for training


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bytes that pixels may take: of the host's memory, and of the device's (0 on a CPU)."""

    host: int
    device: int


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An engine, ``reason`` in one line, and for the resident engine where the pixels stay."""

    name: Literal["dali", "kornia", "resident"]
    reason: str
    keeps_on_device: bool = False


def choose_engine(
    engine: EngineName, index: ShardIndex, *, device: torch.device, repeats: bool, budget: Budget
) -> Choice:
    """The engine for this selection.

    Args:
        repeats: rows come again in later epochs, so that it pays to keep pixels.

    Raises:
        InputError: an unknown engine, or ``resident`` is asked for and does not fit.
    """
    if engine not in ("auto", "dali", "kornia", "resident"):
        raise InputError(f"engine {engine!r}: must be auto, dali, kornia or resident")
    if engine == "dali":
        with needing("dali", "engine dali"):
            import_module("nvidia.dali")
    if engine == "dali" or engine == "kornia":
        return Choice(name=engine, reason=f"engine {engine}, as asked for")
    needed = decoded_bytes(index)
    pixels = f"the {len(index):,} images are {as_size(needed)} decoded"
    if engine == "resident" or repeats:
        if needed <= budget.device:
            reason = (
                f"engine resident: {pixels}, and fit the {as_size(budget.device)} they may take of the GPU's memory"
            )
            return Choice(name="resident", reason=reason, keeps_on_device=True)
        if needed <= budget.host:
            reason = f"engine resident: {pixels}, and fit the {as_size(budget.host)} they may take of memory"
            return Choice(name="resident", reason=reason)
    most = as_size(max(budget.host, budget.device))
    if engine == "resident":
        raise InputError(
            f"engine resident: {pixels} but may take {most}; allow more bytes, pack smaller images, or take engine auto"
        )
    why = f"{pixels}, too many for the {most} they may take" if repeats else "each row comes once"
    name = _keeps_nothing(device)
    if name == "dali":
        fits = "which decodes on the GPU"
    else:
        fits = "the faster one on a CPU" if device.type == "cpu" else "as pip install 'moco-cxr[dali]' was not done"
    return Choice(name=name, reason=f"engine {name}, {fits}: {why}")


def _keeps_nothing(device: torch.device) -> Literal["dali", "kornia"]:
    """What ``auto`` takes where no pixels are kept; dali where it is installed."""
    return "dali" if device.type == "cuda" and has_dali() else "kornia"


def has_dali() -> bool:
    """Whether DALI, which is an extra, is installed."""
    try:
        return find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:
        return False


def made_by(engine: EngineName, device: torch.device) -> str:
    """Who makes the views of one pass in order: the engine, and the device by its name. Others may decode to other grey
    levels."""
    by_opencv = "" if is_compiled() else ", warped by OpenCV"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{_keeps_nothing(device) if engine == 'auto' else engine} on {name}{by_opencv}"


def pixel_budget(device: torch.device, *, asked: int | None, world_size: int) -> Budget:
    """What pixels may take: ``asked`` bytes, or half of what is free, of the rank that has least."""
    on_gpu = device.type == "cuda"
    if asked is not None:
        return Budget(host=asked, device=asked if on_gpu else 0)
    host, on_device = available_memory(), free_device_bytes(device) if on_gpu else 0
    everyone = gather((host, on_device)) if have_met(world_size) else [(host, on_device)]
    return Budget(
        host=int(_SHARE * min(each[0] for each in everyone)), device=int(_SHARE * min(each[1] for each in everyone))
    )


def build_engine(
    choice: Choice,
    samples: Samples,
    spec: ViewSpec,
    *,
    device: torch.device,
    num_threads: int,
    batch_size: int,
    num_views: int,
    is_sequential: bool,
    rank: int,
    world_size: int,
) -> Engine:
    """The chosen engine.

    Args:
        batch_size: the most rows a request has.
        is_sequential: rows will come in the order of the index.
    """
    shape: dict[str, Any] = {
        "size": spec.size,
        "fill": spec.fill,
        "device": device,
        "num_threads": num_threads,
        "batch_size": batch_size,
        "num_views": num_views,
        "num_small": spec.small_crops,
        "small_size": spec.small().size if spec.small_crops else 0,
    }
    if choice.name == "dali":
        from pipeline.engines.dali.engine import DaliEngine  # DALI takes a second to import

        return DaliEngine(samples, has_blur=spec.blur > 0, sequential=is_sequential, **shape)
    from pipeline.engines.threads import Decoder, KorniaEngine

    if choice.name == "kornia":
        return KorniaEngine(Decoder(samples), **shape)
    if choice.keeps_on_device:
        on_device = DeviceStore(samples, device)
        spare = None if samples.index.is_remote else on_device.decode_one
        return KorniaEngine(Decoder(samples), name="resident", store=on_device, spare=spare, **shape)
    on_host = PixelStore(samples, rank=rank, world_size=world_size)
    spare = None if samples.index.is_remote else on_host.fill_one  # remote rows come when their shard does
    return KorniaEngine(on_host, name="resident", spare=spare, **shape)


def free_device_bytes(device: torch.device) -> int:
    """Bytes that a GPU has free."""
    return int(torch.cuda.mem_get_info(device)[0])
