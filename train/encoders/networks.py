"""The networks that are encoders: of torchvision and timm, with one input channel, without a head.

The fixed position embedding of MoCo v3 (Chen et al. 2021, arXiv 2104.02057) is here too: it tells whose vision
transformer a file is of.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from train.encoders.zoo import build_timm
from train.settings.architectures import Architecture


def build_network(architecture: Architecture, size: int | None = None) -> nn.Module:
    """The network as it is initialised, from torch's global random state.

    Its ``num_features`` is the width of what comes out; its ``feature_info`` names its stages, as timm's networks do
    (:mod:`train.encoders.places`).

    Args:
        size: of the views in pixels, for networks of timm that fix it; default: their own.
    """
    return _torchvision_network(architecture) if architecture.library == "torchvision" else _timm(architecture, size)


def _torchvision_network(architecture: Architecture) -> nn.Module:
    encoder: Any = torchvision.models.get_model(architecture.model, weights=None)
    head = architecture.heads[0]
    num_features = encoder.get_submodule(head).in_features
    color = encoder.get_submodule(architecture.stem)
    gray = nn.Conv2d(1, color.out_channels, color.kernel_size, stride=color.stride, padding=color.padding, bias=False)
    # As torchvision initialises its own: by fan-out, which does not depend on the number of input channels.
    nn.init.kaiming_normal_(gray.weight, mode="fan_out", nonlinearity="relu")
    encoder.set_submodule(architecture.stem, gray)
    encoder.set_submodule(head, nn.Identity())
    encoder.num_features = num_features
    encoder.feature_info = [
        {"module": module, "num_chs": width} for module, width in _widths(encoder, architecture.maps).items()
    ]
    # A DenseNet rectifies its last map outside of the module that gives it.
    encoder.feature_info[-1]["is_rectified_behind"] = isinstance(encoder, torchvision.models.DenseNet)
    return encoder


def _widths(encoder: nn.Module, modules: Sequence[str]) -> dict[str, int]:
    """The channels of what modules give, by a pass of one small view."""
    found: dict[str, int] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: found.update({name: output.shape[1]})

    hooks = [encoder.get_submodule(name).register_forward_hook(keep(name)) for name in modules]
    with torch.no_grad():
        encoder.eval()(torch.zeros(1, 1, 32, 32))
    encoder.train()
    for hook in hooks:
        hook.remove()
    return {name: found[name] for name in modules}


def _timm(architecture: Architecture, size: int | None) -> nn.Module:
    encoder = build_timm(architecture, size)
    if architecture.has_fixed_position_embedding:
        grid = encoder.patch_embed.grid_size[0]
        encoder.pos_embed.detach().copy_(sincos_position_embedding(encoder.num_features, grid))
        project = encoder.patch_embed.proj
        bound = math.sqrt(6 / (project.weight[0].numel() + project.out_channels))
        nn.init.uniform_(project.weight, -bound, bound)
        nn.init.zeros_(project.bias)
        for parameter in (encoder.pos_embed, *project.parameters()):
            parameter.requires_grad_(False)
    return encoder


def stem_weights(architecture: Architecture) -> tuple[str, ...]:
    """The names of the weights that take the image."""
    return tuple(f"{stem}.weight" for stem in architecture.stems)


def is_of_color(weight: Tensor, gray: Tensor) -> bool:
    """Whether a stem's weight takes three channels where ``gray`` takes one; ``gray`` may take several of its pixels
    at once, as channels (space to depth)."""
    return weight.ndim == 4 and weight.shape[1] == 3 * gray.shape[1]


def summed_to_gray(weight: Tensor) -> Tensor:
    """What gives for gray what ``weight`` (O, P 3, H, W) would have given for three equal channels: (O, P, H, W)."""
    return weight.float().unflatten(1, (-1, 3)).sum(dim=2)


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
