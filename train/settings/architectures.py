"""The networks that can be encoders: whose they are, and what their first and last layers are called."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from shards.base.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One network of torchvision or timm."""

    library: Literal["torchvision", "timm"]
    model: str
    """Name in the library."""
    stem: str
    """First convolution, which takes gray instead of colour."""
    heads: tuple[str, ...]
    """What classifiers and projectors on top of the features are called, the library's own first."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the library's factory is told beside the name."""
    patch_size: int = 1
    """Views must be a multiple of this many pixels."""
    has_fixed_position_embedding: bool = False
    """Sin-cos position embedding and patch projection, neither of them trained."""


# Cadene's pretrained-models, which MoCo-CXR fine-tunes its ResNets in, say last_linear.
_resnet = partial(Architecture, library="torchvision", stem="conv1", heads=("fc", "last_linear"))
_vit = partial(Architecture, library="timm", stem="patch_embed.proj", heads=("head",), patch_size=16)

ENCODERS: dict[str, Architecture] = {
    "resnet18": _resnet(model="resnet18"),
    "resnet50": _resnet(model="resnet50"),
    "densenet121": Architecture(
        library="torchvision", model="densenet121", stem="features.conv0", heads=("classifier", "fc")
    ),
    "vit_small": _vit(model="vit_small_patch16_224"),
    # Chen, Xie, He 2021 (arXiv 2104.02057, sections 4 and 5): 12 heads where timm and DeiT have 6. No shape tells heads
    # apart, so the two would take each other's weights and give other features.
    "vit_small_moco_v3": _vit(
        model="vit_small_patch16_224",
        options={"num_heads": 12, "weight_init": "moco"},
        has_fixed_position_embedding=True,
    ),
}


def check_name(name: str) -> None:
    """Refuses a name that is not in ``ENCODERS``.

    Raises:
        InputError: listing those that are.
    """
    if name not in ENCODERS:
        raise InputError(f"encoder.name {name!r}: unknown; choose one of {', '.join(ENCODERS)}")


def check_view_size(name: str, size: int) -> None:
    """Refuses views that the encoder cannot cut into patches.

    Raises:
        InputError: naming the nearest sizes.
    """
    patch = ENCODERS[name].patch_size
    if size % patch:
        below = max(size // patch, 1) * patch
        raise InputError(f"views.size {size}: {name} takes multiples of {patch} px; use {below} or {below + patch}")
