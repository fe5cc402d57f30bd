"""Encoders by name: networks of torchvision and timm with one input channel that end in pooled features.

Parameter names are the library's, so weights move to and from plain torchvision and timm without renaming.
"""

import math
from typing import Any

import torch
import torchvision
from torch import nn

from shards.base.errors import InputError
from train.encoders.norms import group_norm
from train.encoders.weights import load_start, read_start, sincos_position_embedding
from train.settings.architectures import ENCODERS, Architecture, check_name


def build_encoder(name: str, *, seed: int = 0, weights: str = "random", norm: str = "batch") -> nn.Module:
    """An encoder that takes (B, 1, H, W) to pooled features (B, ``encoder.num_features``).

    The first layer takes gray directly; colour weights are summed over the channels, which gives what three equal
    channels would have given. Vision transformers end in their class token, and fit their position embedding to the
    size of the views, which must be a multiple of 16 px (:func:`train.settings.architectures.check_view_size`).

    Args:
        seed: of the random start; the global random state is left as it was.
        weights: ``random``, ``imagenet``, or a file or run folder; see :mod:`train.encoders.weights`. What was loaded
            is kept as ``encoder.start``, for :func:`train.encoders.weights.describe_start`.
        norm: ``batch`` or ``group``.

    Raises:
        InputError: unknown name, failed download, or weights that do not match key by key.
    """
    check_name(name)
    start = read_start(weights, name)
    if start is not None and start.norm == "group" and norm != "group":
        raise InputError(f"encoder.weights {weights}: was trained with group norm; give --norm.strategy group as well")
    build = _timm_network if ENCODERS[name].library == "timm" else _torchvision_network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: Any = build(ENCODERS[name])
    if start is not None:
        if start.norm == "group":
            encoder = group_norm(encoder)
        encoder.start = load_start(encoder, start, name=name)
    return group_norm(encoder) if norm == "group" else encoder


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
