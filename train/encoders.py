"""Encoders by name: torchvision networks with one input channel that end in pooled features.

Parameter names are torchvision's, so weights move to and from plain torchvision without renaming.
"""

import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from shards.errors import InputError
from train.batchnorm import group_norm

ENCODERS: dict[str, tuple[str, str]] = {  # name: (first convolution, classifier)
    "resnet18": ("conv1", "fc"),
    "resnet50": ("conv1", "fc"),
    "densenet121": ("features.conv0", "classifier"),
}


def build_encoder(name: str, *, seed: int = 0, weights: str = "random", norm: str = "batch") -> nn.Module:
    """An encoder that takes (B, 1, H, W) to pooled features (B, ``encoder.num_features``).

    The first convolution takes gray directly; colour weights are summed over the channels, which gives what three
    equal channels would have given.

    Args:
        seed: of the random start; the global random state is left as it was.
        weights: ``random``, ``imagenet`` (torchvision's version 1, downloaded at first use), or the path of a file
            with a torchvision state dict.
        norm: ``batch`` or ``group``.

    Raises:
        InputError: unknown name, failed download, or weights that do not match key by key.
    """
    if name not in ENCODERS:
        raise InputError(f"encoder.name {name!r}: unknown; choose one of {', '.join(ENCODERS)}")
    first, classifier = ENCODERS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: nn.Module = torchvision.models.get_model(name, weights=None)
        num_features = encoder.get_submodule(classifier).in_features
        color: Any = encoder.get_submodule(first)
        gray = nn.Conv2d(
            1, color.out_channels, color.kernel_size, stride=color.stride, padding=color.padding, bias=False
        )
        # As torchvision initialises its own: by fan-out, which does not depend on the number of input channels.
        nn.init.kaiming_normal_(gray.weight, mode="fan_out", nonlinearity="relu")
    encoder.set_submodule(first, gray)
    encoder.set_submodule(classifier, nn.Identity())
    encoder.num_features = num_features
    if weights != "random":
        state = _imagenet_state(name) if weights == "imagenet" else _file_state(Path(weights))
        _load_torchvision_state(encoder, state, first=f"{first}.weight", classifier=f"{classifier}.", source=weights)
    return group_norm(encoder) if norm == "group" else encoder


def _imagenet_state(name: str) -> dict[str, Tensor]:
    enumeration: Any = torchvision.models.get_model_weights(name)
    try:
        state: dict[str, Tensor] = enumeration.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"encoder.weights imagenet: the download failed ({error}); fetch {enumeration.IMAGENET1K_V1.url} by hand "
            "and give the file's path"
        ) from None
    return state


def _file_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(
            f"encoder.weights {path}: no such file; give random, imagenet or a file of torchvision weights"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, ImportError) as error:
        raise InputError(f"encoder.weights {path}: cannot be read ({error})") from None
    except Exception as error:  # torch raises pickle errors of several modules for files that are no checkpoints
        raise InputError(f"encoder.weights {path}: is no PyTorch state dict ({type(error).__name__})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"encoder.weights {path}: holds more than a state dict; give plain torchvision weights")
    return state


def _load_torchvision_state(
    encoder: nn.Module, state: dict[str, Tensor], *, first: str, classifier: str, source: str
) -> None:
    # The released DenseNet files say norm.1 where the module says norm1.
    renamed = {re.sub(r"\.(norm|relu|conv)\.([12])\.", r".\1\2.", key): value for key, value in state.items()}
    kept = {key: value for key, value in renamed.items() if not key.startswith(classifier)}
    if first in kept:
        kept[first] = kept[first].sum(dim=1, keepdim=True)
    # Files from before PyTorch 0.4.1 lack the counters.
    counters = {key: value for key, value in encoder.state_dict().items() if key.endswith("num_batches_tracked")}
    try:
        encoder.load_state_dict(counters | kept, strict=True)
    except RuntimeError as error:
        raise InputError(f"encoder.weights {source}: does not fit the encoder: {error}") from None
