"""What weights an encoder starts from: ``encoder.weights`` on the command line.

random                  nothing is loaded
imagenet                torchvision's (version 1), or timm's; downloaded at first use
package:NAME            the weights that an installed Python package holds (:mod:`train.encoders.starts.packages`)
FOLDER                  a Hugging Face model (:mod:`train.encoders.starts.huggingface`)
hub:USER/NAME           such a folder, or an encoder of ours, on the Hugging Face hub (:mod:`train.encoders.starts.hub`)
RUN, FILE.safetensors   a former run, or its encoder file
RUN/checkpoints/STEP    a checkpoint of a run, finished or not
FILE                    a state dict, a checkpoint or a pickled module of any training code (.pth, .pth.tar, .ckpt,
                        .safetensors) that holds a network of torchvision or timm under some prefix

Every tensor of the encoder must be there in its shape and finite, and nothing may be left over that would belong to the
encoder, were it another one; heads, copies and queues may. Colour weights of the first layer are summed to one channel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shards.base.errors import InputError
from train.encoders.file import find_encoder, is_ours, read_encoder_file, read_tensors
from train.encoders.layouts import find_layout, joined
from train.encoders.networks import build_network, is_of_color, is_sincos, stem_weights, summed_to_gray
from train.encoders.starts.hub import WORDS, download, is_on_hub
from train.encoders.starts.huggingface import check_heads, is_model_folder, read_config, weight_files
from train.encoders.starts.imagenet import imagenet_weights
from train.encoders.starts.packages import PACKAGE, find_in_package
from train.encoders.starts.positions import fitted_positions
from train.encoders.torch_file import plain_name, read_torch_file
from train.encoders.zoo import architecture_of
from train.settings.architectures import CHOICES, ENCODERS


@dataclass(frozen=True, kw_only=True)
class Start:
    """Tensors to start from; see :func:`load_start`. ``format`` is empty where the tensors' names are to tell it,
    ``says`` what the file says of itself, for a message, ``config`` in Hugging Face's words."""

    source: str
    tensors: dict[str, Tensor]
    format: str = ""
    norm: str = "batch"
    says: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


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
    fitted: tuple[str, ...] = field(default=())
    """Positions that were interpolated."""

    def line(self) -> str:
        """The report in one line, with counts and first names."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        parts += [f"head dropped: {_first(self.head)}"] if self.head else []
        parts += [f"left aside: {_first(self.beside)}"] if self.beside else []
        parts += [f"not in the file: {_first(self.missing)}"] if self.missing else []
        parts += ["three channels summed to one"] if self.is_color else []
        parts += [f"fitted to the size of the views: {_first(self.fitted)}"] if self.fitted else []
        return f"encoder.weights {self.source}: {self.format}; " + "; ".join(parts)


def describe_start(encoder: nn.Module) -> str:
    """What an encoder of :func:`train.encoders.build.build_encoder` started from, in one line."""
    report = getattr(encoder, "start", None)
    return report.line() if isinstance(report, LoadReport) else "encoder.weights random: nothing loaded"


def read_start(weights: str, name: str, size: int | None = None) -> Start | None:
    """What ``encoder.weights`` means for the encoder ``name``; None for a random start.

    Args:
        size: of the views in pixels, for networks that fix it.

    Raises:
        InputError: no such file, a failed download, a file that cannot be read safely, or a run of another encoder.
    """
    if weights == "random":
        return None
    if weights == "imagenet":
        architecture = architecture_of(name)
        tensors = imagenet_weights(architecture, name=name, size=size)
        return Start(source=weights, format=f"{architecture.library} weights", tensors=tensors)
    if is_on_hub(weights):
        path = download(weights)
    else:
        path = find_in_package(weights) if weights.startswith(PACKAGE) else Path(weights)
    if is_model_folder(path) and not is_ours(path):
        return _of_huggingface(path)
    if not path.exists():
        raise InputError(
            f"encoder.weights {path}: no such file; give random, imagenet, a former run, a file of weights, "
            f"{PACKAGE}NAME or {WORDS[0]}USER/NAME"
        )
    if is_ours(path):
        return _former_run(path, name)
    if path.is_dir() or path.suffix == ".safetensors":
        tensors, _ = read_tensors(find_encoder(path))
        return Start(source=str(path), tensors={plain_name(key): value for key, value in tensors.items()})
    read = read_torch_file(path)
    source = weights if weights.startswith(PACKAGE) else str(path)
    return Start(source=source, tensors=read.tensors, says=read.says)


def load_start(encoder: nn.Module, start: Start, *, name: str) -> LoadReport:
    """Loads ``start`` into ``encoder``, key by key, and says what was loaded.

    Raises:
        InputError: anything is missing, left over or of another shape, other than a head; the encoder is as it was.
    """
    architecture, wanted = architecture_of(name), encoder.state_dict()
    stems = stem_weights(architecture)
    layout = find_layout(start.tensors, wanted, stems=stems, heads=architecture.heads)
    check_heads(start.source, start.config, encoder, name=name)
    state = {key: joined(start.tensors, names) for key, names in layout.names.items()}
    colors = [stem for stem in stems if stem in state and is_of_color(state[stem], wanted[stem])]
    state |= {stem: summed_to_gray(state[stem]) for stem in colors}
    state |= {key: value.reshape(wanted[key].shape) for key, value in state.items() if _is_padded(value, wanted[key])}
    fitted = fitted_positions(encoder, state)
    state |= fitted
    format = start.format or layout.format
    what = f"encoder.weights {start.source}: {format}"
    absent = [key for key in wanted if key not in state]
    counters = tuple(key for key in absent if key.endswith(".num_batches_tracked"))
    faults = {
        "missing": [key for key in absent if key not in counters],
        "not expected": list(layout.surplus),
        "of another shape": [
            f"{key} {tuple(value.shape)} where the encoder has {tuple(wanted[key].shape)}"
            for key, value in sorted(state.items())
            if value.shape != wanted[key].shape
        ],
    }
    if any(faults.values()):
        listed = "; ".join(f"{_first(keys)} {fault}" for fault, keys in faults.items() if keys)
        says = f" (the file says {start.says})" if start.says else ""
        remedy = _what_is_wrong(start, state, faults) or _remedy(start, name)
        raise InputError(f"{what}, does not fit the encoder {name}: {listed}{says}; {remedy}")
    if layout.rivals:
        several = ", ".join(f"{prefix}*" for prefix in layout.rivals[:3])
        raise InputError(
            f"{what}, is not the only {name} in the file: {several} fit as well, and hold other weights; save the one "
            "that is meant alone"
        )
    kinds = {key: value.dtype for key, value in state.items() if wanted[key].is_floating_point()}
    if whole := [key for key, kind in kinds.items() if not kind.is_floating_point]:
        raise InputError(
            f"{what}: {_first(whole)} hold numbers of type {kinds[whole[0]]}, as quantisation leaves them; give the "
            "weights before it"
        )
    is_vit_small = name in ENCODERS and architecture.library == "timm"
    if is_vit_small and is_sincos(state["pos_embed"]) != architecture.has_fixed_position_embedding:
        other = next(key for key, value in ENCODERS.items() if value.library == "timm" and key != name)
        raise InputError(
            f"{what}, of {other} by its position embedding; with the number of attention heads of {name} it would give "
            f"other features; give encoder.name {other}"
        )
    bad = [key for key, value in state.items() if not torch.isfinite(value.float()).all()]
    if bad:
        raise InputError(
            f"{what}: {_first(bad)} hold values that are not finite; the training they are from has diverged, take an "
            "earlier checkpoint of it"
        )
    encoder.load_state_dict(state, strict=False)
    return LoadReport(
        source=start.source,
        format=format,
        loaded=tuple(state),
        head=layout.head,
        beside=layout.beside,
        missing=counters,
        is_color=bool(colors),
        fitted=tuple(fitted),
    )


def _what_is_wrong(start: Start, state: dict[str, Tensor], faults: dict[str, list[str]]) -> str:
    """What to do about a file that may well be of the right network; empty where nothing tells."""
    if any("_flat_param" in key or "flat_param_" in key for key in start.tensors):
        return "FSDP has flattened its parameters: save them with StateDictType.FULL_STATE_DICT"
    if any(not value.numel() for value in state.values()):
        return "they are empty, as ZeRO 3 leaves them: give what zero_to_fp32.py beside the checkpoint makes"
    if faults["missing"] and all(".running_" in key for key in faults["missing"]) and not faults["of another shape"]:
        if any(key.startswith("method.model.encoder.") for key in start.tensors):
            return "the running statistics are in rank-00000.pt: give the checkpoint's folder"
        return (
            "there are no running statistics: save state_dict(), which has them, and not parameters(); weights of "
            "networks with group norm are not read"
        )
    return ""


def _remedy(start: Start, name: str) -> str:
    """The network whose weights these are, if it is one of ours."""
    for other, architecture in ENCODERS.items():
        if other == name:
            continue
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            wanted = build_network(architecture).state_dict()
        layout = find_layout(start.tensors, wanted, stems=stem_weights(architecture), heads=architecture.heads)
        is_whole = all(key in layout.names for key in wanted if not key.endswith(".num_batches_tracked"))
        found = {key: joined(start.tensors, names) for key, names in layout.names.items()}
        fits = all(value.shape[2:] == wanted[key].shape[2:] for key, value in found.items())
        if is_whole and fits and not layout.surplus:
            return f"these are weights of a {other}: give encoder.name {other}"
    return f"give weights of a {name}, or the encoder.name of the weights: {CHOICES}"


def _is_padded(value: Tensor, wanted: Tensor) -> bool:
    """Whether only dimensions of 1 are between them, as in ConvNeXt V2's norms."""
    return value.shape != wanted.shape and [n for n in value.shape if n != 1] == [n for n in wanted.shape if n != 1]


def _of_huggingface(folder: Path) -> Start:
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        tensors |= read_tensors(file)[0] if file.suffix == ".safetensors" else read_torch_file(file).tensors
    config = read_config(folder)
    return Start(source=str(folder), tensors=tensors, config=config, says=f"a {config.get('model_type', 'model')}")


def _former_run(path: Path, name: str) -> Start:
    file = read_encoder_file(path)
    trained = file.metadata["name"]
    if trained != name:
        raise InputError(f"encoder.weights {file.path}: is a {trained}, not a {name}; give encoder.name {trained}")
    format = f"checkpoint of a former run, step {file.metadata['step']}" if file.path.is_dir() else "former run"
    return Start(source=str(file.path), format=format, tensors=file.tensors, norm=file.metadata["norm"])


def _first(keys: tuple[str, ...] | list[str]) -> str:
    return f"{len(keys)} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
