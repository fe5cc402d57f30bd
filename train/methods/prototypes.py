"""Prototypes: trained directions with which embeddings are compared. Legend: B batch per rank, D embedding, P
prototypes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.methods.embedder import Embedder, Embedding, build_embedder
from train.ranks.world import World
from train.settings.config import PretrainConfig


class PrototypeEmbedder(Embedder):
    """An embedder whose ``prediction`` are the cosines (B, P) of its embedding with P trained prototypes.

    Prototypes are normalised in the forward pass: a linear layer with weight normalisation whose length is fixed at 1
    (DINO). SwAV overwrites the weights at each step; but ZeRO 1 and 2 keep weights of their own, from which the next
    step would bring the old length back.
    """

    prototypes: nn.Parameter

    def __init__(self, embedder: Embedder, prototypes: Tensor) -> None:
        super().__init__(embedder.encoder, embedder.projector, embedder.predictor, channels_last=embedder.channels_last)
        self.prototypes = nn.Parameter(prototypes)  # (P, D)
        self.are_frozen = False
        """Whether the gradient of the prototypes is zero. Decay then changes their length alone, which nothing reads;
        but for adam, where it is a part of the gradient."""

    def forward(self, views: Tensor) -> Embedding:
        output = super().forward(views)
        prototypes = self.prototypes.detach() + 0 * self.prototypes if self.are_frozen else self.prototypes
        return output._replace(prediction=cosines(output.embedding, prototypes))


def build_prototype_embedder(
    config: PretrainConfig, world: World, *, projector: Sequence[int], norm: bool, gelu: bool = False
) -> PrototypeEmbedder:
    """As :func:`train.methods.embedder.build_embedder`, with ``method.num_prototypes`` random directions."""
    embedder = build_embedder(config, world, projector=projector, norm=norm, last_norm=False, gelu=gelu)
    generator = torch.Generator().manual_seed(config.run.seed)
    prototypes = torch.randn(config.method.num_prototypes, config.method.embedding, generator=generator)
    return PrototypeEmbedder(embedder, F.normalize(prototypes, dim=1).to(world.device))


def cosines(embedding: Tensor, prototypes: Tensor) -> Tensor:
    """Cosines (B, P) of normalised embeddings (B, D) with prototypes (P, D) of any length; fp32, also in autocast."""
    with torch.autocast(embedding.device.type, enabled=False):
        return embedding @ F.normalize(prototypes, dim=1).T
