"""What weights an encoder starts from: ``encoder.weights`` on the command line.

random                  nothing is loaded
imagenet                torchvision's (version 1); timm's for vision transformers; downloaded at first use
RUN, FILE.safetensors   a former run, or its encoder file
FILE                    a state dict of torchvision or timm (.pth, .safetensors); a checkpoint of MoCo v1, v2 or v3, or
                        of MoCo-CXR (.pth.tar), pretrained or fine-tuned

Every tensor of the encoder must be in the file in its shape, and of the file only heads, momentum copies and queues may
be left over. Colour weights of the first layer are summed to one channel. The fixed position embedding of MoCo v3
(Chen et al. 2021, arXiv 2104.02057) is here too: it tells whose vision transformer a file is of.
"""

import argparse
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from shards.base.errors import InputError
from shards.base.words import reason_of
from train.encoders.file import find_encoder, has_our_header, read_encoder_file, read_tensors
from train.settings.architectures import ENCODERS

_NESTED = ("state_dict", "model_state", "model")
# Where the encoder is inside a whole model, most telling first, and what is in its place beside it.
_MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "encoder_q.": ("MoCo checkpoint (v1, v2 or MoCo-CXR), query encoder", ("encoder_k.", "queue")),
    "base_encoder.": ("MoCo v3 checkpoint, base encoder", ("momentum_encoder.", "predictor.")),
    "momentum_encoder.": ("MoCo v3 checkpoint, momentum encoder", ("predictor.",)),
    "model.": ("fine-tuned checkpoint, as of MoCo-CXR", ()),
}
_MAKE_SCALAR = np.float64(0).__reduce__()[0]
# What checkpoints hold beside tensors and plain values, and none of it runs code: options, and metrics from numpy.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")},
    _MAKE_SCALAR,
    (_MAKE_SCALAR, "numpy.core.multiarray.scalar"),  # its name before numpy 2
]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Tensors to start from, under the encoder's names but for heads; see :func:`load_start`."""

    source: str
    format: str
    state: dict[str, Tensor]
    beside: tuple[str, ...] = ()
    """Names of what belongs to no encoder, or to the other one."""
    norm: str = "batch"
    hint: str = ""
    """What the file says of itself, for a message."""


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """Which tensors came from where, by name."""

    source: str
    format: str
    loaded: tuple[str, ...]
    head: tuple[str, ...] = field(default=())
    """In the file, and not loaded: classifier or projector."""
    beside: tuple[str, ...] = field(default=())
    """In the file, and not loaded: momentum copy, predictor, queue."""
    missing: tuple[str, ...] = field(default=())
    """Not in the file, and left as they were: batch norm's counters, which old files lack."""
    is_color: bool = False
    """The first layer's weights were summed over three channels."""

    def line(self) -> str:
        """The report in one line, with counts and first names."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        parts += [f"head dropped: {_first(self.head)}"] if self.head else []
        parts += [f"left aside: {_first(self.beside)}"] if self.beside else []
        parts += [f"not in the file: {_first(self.missing)}"] if self.missing else []
        parts += ["three channels summed to one"] if self.is_color else []
        return f"encoder.weights {self.source}: {self.format}; " + "; ".join(parts)


def describe_start(encoder: nn.Module) -> str:
    """What an encoder of :func:`train.encoders.build.build_encoder` started from, in one line."""
    report = getattr(encoder, "start", None)
    return report.line() if isinstance(report, LoadReport) else "encoder.weights random: nothing loaded"


def read_start(weights: str, name: str) -> Start | None:
    """What ``encoder.weights`` means for the encoder ``name``; None for a random start.

    Raises:
        InputError: no such file, a failed download, a file that cannot be read safely, or a run of another encoder.
    """
    if weights == "random":
        return None
    if weights == "imagenet":
        return Start(source=weights, format=f"{ENCODERS[name].library} weights", state=_imagenet(name))
    path = Path(weights)
    if not path.exists():
        raise InputError(
            f"encoder.weights {path}: no such file; give random, imagenet, a former run, or a file of weights"
        )
    if path.is_dir() or path.suffix == ".safetensors":
        file = find_encoder(path)
        tensors, header = read_tensors(file)
        return _former_run(file, name) if has_our_header(header) else _start(tensors, str(path))
    return _unwrap(_read_pickle(path), str(path))


def load_start(encoder: nn.Module, start: Start, *, name: str) -> LoadReport:
    """Loads ``start`` into ``encoder``, key by key, and says what was loaded.

    Raises:
        InputError: anything is missing, left over or of another shape, other than a head; the encoder is as it was.
    """
    architecture = ENCODERS[name]
    # Torchvision's first DenseNet files say norm.1 where the module says norm1.
    state = {re.sub(r"\.(norm|relu|conv)\.([12])\.", r".\1\2.", key): value for key, value in start.state.items()}
    head = tuple(key for key in state if key.startswith(tuple(f"{part}." for part in architecture.heads)))
    state = {key: value for key, value in state.items() if key not in head}
    stem = f"{architecture.stem}.weight"
    is_color = stem in state and state[stem].ndim == 4 and state[stem].shape[1] == 3
    if is_color:
        state[stem] = state[stem].float().sum(dim=1, keepdim=True)

    wanted = encoder.state_dict()
    absent = [key for key in wanted if key not in state]
    counters = tuple(key for key in absent if key.endswith(".num_batches_tracked"))
    missing = [key for key in absent if key not in counters]
    unexpected = [key for key in state if key not in wanted]
    misshapen = [
        f"{key} {tuple(state[key].shape)} where the encoder has {tuple(wanted[key].shape)}"
        for key in wanted.keys() & state.keys()
        if state[key].shape != wanted[key].shape
    ]
    faults = {"missing": missing, "not expected": unexpected, "of another shape": sorted(misshapen)}
    if any(faults.values()):
        listed = "; ".join(f"{_first(keys)} {fault}" for fault, keys in faults.items() if keys)
        raise InputError(
            f"encoder.weights {start.source}: {start.format}, does not fit the encoder {name}: {listed}{start.hint}; "
            "give weights of that encoder, or the encoder.name of the weights"
        )
    if architecture.library == "timm" and is_sincos(state["pos_embed"]) != architecture.has_fixed_position_embedding:
        other = next(key for key, value in ENCODERS.items() if value.library == "timm" and key != name)
        raise InputError(
            f"encoder.weights {start.source}: {start.format}, of {other} by its position embedding; with the number "
            f"of attention heads of {name} it would give other features; give encoder.name {other}"
        )
    encoder.load_state_dict(state, strict=False)
    return LoadReport(
        source=start.source,
        format=start.format,
        loaded=tuple(state),
        head=head,
        beside=start.beside,
        missing=counters,
        is_color=is_color,
    )


def _imagenet(name: str) -> dict[str, Tensor]:
    architecture = ENCODERS[name]
    if architecture.has_fixed_position_embedding:
        raise InputError(
            f"encoder.weights imagenet: there are none for {name}; give random, a MoCo v3 checkpoint, or encoder.name "
            "vit_small"
        )
    if architecture.library == "timm":
        return _timm_imagenet(architecture.model)
    enumeration: Any = torchvision.models.get_model_weights(architecture.model)
    try:
        state: dict[str, Tensor] = enumeration.IMAGENET1K_V1.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"encoder.weights imagenet: the download failed ({error}); fetch {enumeration.IMAGENET1K_V1.url} by hand "
            "and give the file's path"
        ) from None
    return state


def _timm_imagenet(model: str) -> dict[str, Tensor]:
    import timm
    from timm.models import get_pretrained_cfg

    try:
        network: nn.Module = timm.create_model(model, pretrained=True, num_classes=0)
    except (URLError, OSError, RuntimeError, ValueError) as error:
        where = get_pretrained_cfg(model)
        raise InputError(
            f"encoder.weights imagenet: the download failed ({reason_of(error)}); fetch model.safetensors of "
            f"https://huggingface.co/{where.hf_hub_id if where else 'timm'} by hand and give the file's path"
        ) from None
    return network.state_dict()


def _former_run(path: Path, name: str) -> Start:
    file = read_encoder_file(path)
    trained = file.metadata["name"]
    if trained != name:
        raise InputError(f"encoder.weights {path}: is a {trained}, not a {name}; give encoder.name {trained}")
    return Start(source=str(path), format="former run", state=file.tensors, norm=file.metadata["norm"])


def _read_pickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of several modules for files that are no checkpoints
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if blocked:
            raise InputError(
                f"encoder.weights {path}: holds Python objects ({blocked[1]}) that could run code, and is not opened; "
                "if you trust where it is from, save its state dict alone: "
                "torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW)"
            ) from None
        if isinstance(error, OSError | RuntimeError | EOFError):
            raise InputError(f"encoder.weights {path}: cannot be read ({reason_of(error)})") from None
        raise InputError(f"encoder.weights {path}: is no PyTorch state dict ({type(error).__name__})") from None


def _unwrap(payload: Any, source: str) -> Start:
    """Finds the state dict in a checkpoint, which may say of which architecture it is."""
    nested = next((payload[key] for key in _NESTED if _is_state(payload, key)), payload)
    if not isinstance(nested, dict) or not all(isinstance(value, Tensor) for value in nested.values()):
        held = sorted(map(str, payload))[:5] if isinstance(payload, dict) else type(payload).__name__
        raise InputError(f"encoder.weights {source}: holds no state dict, but {held}; give a file of weights")
    said = payload.get("arch", payload.get("model_name")) if nested is not payload else None
    return _start(nested, source, hint=f" (the file says {said})" if isinstance(said, str) else "")


def _is_state(payload: Any, key: str) -> bool:
    return isinstance(payload, dict) and isinstance(payload.get(key), dict)


def _start(state: dict[str, Tensor], source: str, *, hint: str = "") -> Start:
    """Finds the encoder among the tensors of a whole model, with or without the ``module.`` of parallel training."""
    is_parallel = all(key.startswith("module.") for key in state)
    bare = {key.removeprefix("module.") if is_parallel else key: value for key, value in state.items()}
    for prefix, (what, others) in _MODELS.items():
        if any(key.startswith(prefix) for key in bare):
            beside = tuple(key for key in bare if key.startswith(others))
            kept = {key.removeprefix(prefix): value for key, value in bare.items() if key not in beside}
            return Start(source=source, format=what, state=kept, beside=beside, hint=hint)
    return Start(source=source, format="state dict", state=bare, hint=hint)


def _first(keys: tuple[str, ...] | list[str]) -> str:
    return f"{len(keys)} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"


def sincos_position_embedding(num_features: int, grid: int) -> Tensor:
    """Sines and cosines of the row, then of the column, (1, 1 + grid * grid, num_features); zeros for the class token.

    Args:
        num_features: a multiple of 4.
        grid: patches along a side.
    """
    quarter = num_features // 4
    frequencies = 10_000.0 ** -(torch.arange(quarter, dtype=torch.float32) / quarter)
    angles = torch.arange(grid, dtype=torch.float32)[:, None] * frequencies  # (grid, quarter)
    side = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, num_features / 2)
    rows, columns = side.repeat_interleave(grid, dim=0), side.repeat(grid, 1)
    patches = torch.cat([rows, columns], dim=1)
    return torch.cat([torch.zeros(1, num_features), patches])[None]


def is_sincos(embedding: Tensor) -> bool:
    """Whether a position embedding (1, 1 + N, F) is the fixed one."""
    _, tokens, num_features = embedding.shape
    grid = round((tokens - 1) ** 0.5)
    if grid * grid != tokens - 1 or num_features % 4:
        return False
    return torch.allclose(embedding.float(), sincos_position_embedding(num_features, grid), atol=1e-2)
