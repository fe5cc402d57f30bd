"""Encoders by name: any network of timm, and those of torchvision with short names, with one input channel and pooled
features at their end.

Parameter names are the library's, so weights move to and from plain torchvision and timm without renaming.
"""

from typing import Any

import torch
from torch import nn

from shards.base.errors import InputError
from train.encoders.networks import build_network
from train.encoders.norms import group_norm, has_batch_norm
from train.encoders.weights import load_start, read_start
from train.encoders.zoo import architecture_of


def build_encoder(
    name: str, *, seed: int = 0, weights: str = "random", norm: str = "batch", size: int | None = None
) -> nn.Module:
    """An encoder that takes (B, 1, H, W) to pooled features (B, ``encoder.num_features``).

    The first layer takes gray directly; colour weights are summed over the channels, which gives what three equal
    channels would have given. Vision transformers end in their class token, and fit their position embedding to the
    size of the views, which must be a multiple of 16 px (:func:`train.settings.architectures.check_view_size`).

    Args:
        seed: of the random start; the global random state is left as it was.
        weights: ``random``, ``imagenet``, or a file or run folder; see :mod:`train.encoders.weights`. What was loaded
            is kept as ``encoder.start``, for :func:`train.encoders.weights.describe_start`.
        norm: ``batch`` or ``group``, which becomes ``encoder.norm_name``; a network without batch norm stays ``batch``.
        size: of the views in pixels, for networks that fix it (``timm:vit_base_patch16_224``); default: their own.

    Raises:
        InputError: unknown name, failed download, or weights that do not match key by key.
    """
    architecture = architecture_of(name)
    start = read_start(weights, name, size)
    if start is not None and start.norm == "group" and norm != "group":
        raise InputError(f"encoder.weights {weights}: was trained with group norm; give --norm.strategy group as well")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: Any = build_network(architecture, size)
    encoder.norm_name = norm if has_batch_norm(encoder) else "batch"
    if start is not None:
        if start.norm == "group":
            encoder = group_norm(encoder)
        encoder.start = load_start(encoder, start, name=name)
    return group_norm(encoder) if norm == "group" else encoder
