"""An encoder with the heads that are thrown away after pretraining. Legend: B batch, F features, D embedding."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shards.base.errors import InputError
from train.encoders.build import build_encoder
from train.encoders.memory_format import in_fastest_format
from train.encoders.networks import build_network
from train.encoders.norms import fixed_batchnorm, group_norm, has_batch_norm, split_batchnorm, sync_batchnorm
from train.encoders.zoo import architecture_of, check_encoder, config_of
from train.ranks.world import World
from train.settings.architectures import TIMM
from train.settings.config import PretrainConfig, norm_strategy


class Embedding(NamedTuple):
    """What a model gives of views: ``embedding`` (B, D) fp32, normalised; ``features`` (B, F), pooled; ``prediction``
    (B, D) fp32, normalised, where the model has a predictor; ``raw``, the embedding before it was normalised."""

    embedding: Tensor
    features: Tensor
    prediction: Tensor | None
    raw: Tensor


class Embedder(nn.Module):
    """Takes views (B, 1, H, W) to an :class:`Embedding`. Projector and predictor are thrown away after pretraining."""

    def __init__(
        self, encoder: nn.Module, projector: nn.Module, predictor: nn.Module | None, *, channels_last: bool
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.channels_last = channels_last
        self.prototypes: nn.Parameter | None = None  # of those that have some

    def forward(self, views: Tensor) -> Embedding:
        if self.channels_last:
            views = in_fastest_format(views, self.encoder)
        features = self.encoder(views)  # (B, F)
        raw = self.projector(features)  # (B, D)
        prediction = None if self.predictor is None else F.normalize(self.predictor(raw).float(), dim=1)
        return Embedding(F.normalize(raw.float(), dim=1), features, prediction, raw.float())


def build_embedder(
    config: PretrainConfig,
    world: World,
    *,
    projector: Sequence[int],
    norm: bool,
    last_norm: bool,
    predictor: Sequence[int] = (),
    predictor_last_norm: bool = False,
    gelu: bool = False,
) -> Embedder:
    """The encoder of the config behind the norm strategy of the config, with heads, on the world's device.

    Args:
        projector: widths behind the features, the embedding's last; 0 is the width of the features.
        norm, last_norm, gelu: as in :func:`mlp`, of the projector.
        predictor: widths behind the embedding's; none makes no predictor. Its hidden layers have batch norm.
    """
    name, strategy = config.encoder.name, norm_strategy(config, world.size)
    sized = {"size": config.views.size} if name.startswith(TIMM) else {}  # the others take any
    encoder = build_encoder(
        name,
        seed=config.run.seed,
        weights=config.encoder.weights,
        norm="group" if strategy == "group" else "batch",
        **sized,
    )
    num_features: Any = encoder.num_features
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        widths = [num_features, *(width or num_features for width in projector)]
        project = mlp(widths, norm=norm, last_norm=last_norm, gelu=gelu)
        predict = mlp([widths[-1], *predictor], norm=True, last_norm=predictor_last_norm) if predictor else None
    model = Embedder(encoder, project, predict, channels_last=config.encoder.channels_last)
    if config.norm.keep_statistics:
        fixed_batchnorm(model.encoder)
    _apply(config, world, model)
    return model.to(world.device)


def check_network(config: PretrainConfig, world: World) -> str:
    """Refuses, before anything is computed, a network that there is not, or that takes neither gray views of this size
    nor this way of batch norm.

    Returns:
        a note on what it has no use for; empty where there is none.

    Raises:
        InputError: see :func:`train.encoders.zoo.check_encoder` and :func:`train.encoders.norms.split_batchnorm`.
    """
    name, size = config.encoder.name, config.views.size
    check_encoder(name, size)
    small = config.views.small().size if config.views.small_crops else size
    if small != size and name.startswith(TIMM) and config_of(name.removeprefix(TIMM)).fixed_input_size:
        raise InputError(
            f"views.small_crops {config.views.small_crops}: {name} takes views of one size alone; give "
            f"--views.small-size {size}, or another network"
        )
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = build_network(architecture_of(name), size)
        has_any = has_batch_norm(network)
        if config.norm.keep_statistics:
            fixed_batchnorm(network)
        _apply(config, world, network)
    strategy = norm_strategy(config, world.size)
    return "" if has_any else f"note: {name} has no batch norm, so norm.strategy {strategy} is for the heads alone"


def _apply(config: PretrainConfig, world: World, model: nn.Module) -> None:
    """The norm strategy of the config; in place, for no model is itself a norm."""
    match norm_strategy(config, world.size):
        case "split":
            split_batchnorm(model, config.norm.num_groups)
        case "group":
            group_norm(model)
        case "sync":
            sync_batchnorm(model)


def mlp(widths: Sequence[int], *, norm: bool, last_norm: bool, gelu: bool = False) -> nn.Sequential:
    """Linear layers from ``widths[0]`` to ``widths[-1]`` with ReLU between them.

    A layer has a bias only where no batch norm follows, which would take it away again.

    Args:
        norm: a batch norm behind each layer but the last.
        last_norm: a batch norm without scale and shift behind the last layer, as in MoCo v3 (Chen et al. 2021).
        gelu: GELU in place of ReLU, as in DINO (Caron et al. 2021).
    """
    layers: list[nn.Module] = []
    last = len(widths) - 2
    for i, (before, after) in enumerate(pairwise(widths)):
        has_norm = last_norm if i == last else norm
        layers.append(nn.Linear(before, after, bias=not has_norm))
        if has_norm:
            layers.append(nn.BatchNorm1d(after, affine=i < last))
        if i < last:
            layers.append(nn.GELU() if gelu else nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
