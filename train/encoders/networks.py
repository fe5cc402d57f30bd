"""The networks that are encoders: of torchvision and timm, with one input channel, without a head.

The fixed position embedding of MoCo v3 (Chen et al. 2021, arXiv 2104.02057) is here too: it tells whose vision
transformer a file is of.
"""

import math
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from train.settings.architectures import Architecture


def build_network(architecture: Architecture) -> nn.Module:
    """The network as it is initialised, from torch's global random state."""
    return (_timm_network if architecture.library == "timm" else _torchvision_network)(architecture)


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
    return encoder


def _timm_network(architecture: Architecture) -> nn.Module:
    import timm  # takes more than a second, and only vision transformers need it

    encoder: Any = timm.create_model(
        architecture.model, in_chans=1, num_classes=0, dynamic_img_size=True, **architecture.options
    )
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
