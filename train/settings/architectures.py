"""The networks that can be encoders: whose they are, and what their first and last layers are called.

Five have short names. Any other of timm is ``timm:NAME``; whether there is such a one, and what it takes, only timm
knows: :mod:`train.encoders.zoo`.
"""

import difflib
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
    stems: tuple[str, ...]
    """First convolutions, which take gray instead of colour: one in nearly all."""
    heads: tuple[str, ...]
    """What classifiers and projectors on top of the features are called, the library's own first."""
    maps: tuple[str, ...] = ()
    """The modules whose outputs have places, stage by stage, where the network itself does not say."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the library's factory is told beside the name."""
    patch_size: int = 1
    """Views must be a multiple of this many pixels."""
    has_dynamic_size: bool = False
    """A vision transformer that fits its position embedding to each view, whatever the size it was built for."""
    has_fixed_position_embedding: bool = False
    """Sin-cos position embedding and patch projection, neither of them trained."""

    @property
    def stem(self) -> str:
        """The first of the first convolutions."""
        return self.stems[0]


# Cadene's pretrained-models, which MoCo-CXR fine-tunes its ResNets in, say last_linear.
_resnet = partial(
    Architecture,
    library="torchvision",
    stems=("conv1",),
    heads=("fc", "last_linear"),
    maps=("layer1", "layer2", "layer3", "layer4"),
)
_vit = partial(
    Architecture,
    library="timm",
    stems=("patch_embed.proj",),
    heads=("head",),
    patch_size=16,
    has_dynamic_size=True,
)

ENCODERS: dict[str, Architecture] = {
    "resnet18": _resnet(model="resnet18"),
    "resnet50": _resnet(model="resnet50"),
    "densenet121": Architecture(
        library="torchvision",
        model="densenet121",
        stems=("features.conv0",),
        heads=("classifier", "fc"),
        maps=("features.denseblock1", "features.denseblock2", "features.denseblock3", "features"),
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


TIMM = "timm:"
"""Begins the names of timm's networks, such as ``timm:convnext_tiny``."""
CHOICES = f"one of {', '.join(ENCODERS)}, or {TIMM}NAME for any network of timm"


def check_name(name: str, field: str = "encoder.name") -> None:
    """Refuses a name that is neither in ``ENCODERS`` nor of timm.

    Raises:
        InputError: naming the nearest, and those that there are.
    """
    if name in ENCODERS or name.startswith(TIMM):
        return
    nearest = difflib.get_close_matches(name, ENCODERS, n=1)
    likely = " or ".join([*nearest, f"{TIMM}{name}"])
    raise InputError(f"{field} {name!r}: unknown; did you mean {likely}? Choose {CHOICES}")


def check_view_size(name: str, size: int) -> None:
    """Refuses views that an encoder with a short name cannot cut into patches; timm's are checked by
    :func:`train.encoders.zoo.check_encoder`.

    Raises:
        InputError: naming the nearest sizes.
    """
    patch = ENCODERS[name].patch_size if name in ENCODERS else 1
    if size % patch:
        below = max(size // patch, 1) * patch
        raise InputError(f"views.size {size}: {name} takes multiples of {patch} px; use {below} or {below + patch}")
