"""The momentum copy of what is trained: MoCo's key encoder, BYOL's target network, DINO's teacher.

Legend: B batch per rank, R ranks, C channels, H W pixels, D embedding.
"""

import copy
from functools import partial

import torch
from torch import Tensor

from train.engine.precision import autocast
from train.methods.embedder import Embedder
from train.methods.momentum.shuffle import Collect, shuffle_across_ranks, shuffle_inside_rank
from train.methods.momentum.update import MomentumUpdate
from train.ranks.world import World
from train.settings.config import PretrainConfig, norm_strategy


class Target(Embedder):
    """A copy of ``source`` that follows it slowly, in fp32 and outside DeepSpeed, which would broadcast, cast or shard
    it; in bf16 it would stop moving. A predictor is left out, prototypes are not. Its batch norm stays in training mode
    and keeps statistics of its own.
    """

    def __init__(self, source: Embedder, config: PretrainConfig, world: World) -> None:
        encoder, projector = copy.deepcopy((source.encoder, source.projector))
        super().__init__(encoder, projector, None, channels_last=source.channels_last)
        self.prototypes = copy.deepcopy(source.prototypes)
        self.requires_grad_(False)
        followed = dict(source.named_parameters())
        self._update = MomentumUpdate(self.parameters(), [followed[name] for name, _ in self.named_parameters()])
        self._strategy, self._seed, self._world = norm_strategy(config, world.size), config.run.seed, world
        self._autocast = partial(autocast, config.run.precision, world.device)

    def follow(self, momentum: float) -> None:
        """Moves ``1 - momentum`` of the way to the source."""
        self._update(momentum)

    @torch.no_grad()
    def embed(self, images: Tensor, *, batch: int) -> Tensor:
        """Embeddings of all ranks (R * B, D) for this rank's images (B, C, H, W), in rank order, made of images that
        were dealt to batch norm otherwise than the queries'.

        Args:
            batch: the run's number of this batch; addresses the shuffle.
        """
        shuffled, collect = self._shuffle(images, batch)
        with self._autocast():
            embedding: Tensor = self(shuffled).embedding  # (B, D)
        return collect(embedding)

    def own(self, everyone: Tensor) -> Tensor:
        """This rank's share (B, D) of what :meth:`embed` gave."""
        return everyone.chunk(self._world.size)[self._world.rank]

    def _shuffle(self, images: Tensor, batch: int) -> tuple[Tensor, Collect]:
        match self._strategy:
            case "shuffle":
                return shuffle_across_ranks(images, world=self._world, seed=self._seed, step=batch)
            case "split":
                return shuffle_inside_rank(images, world=self._world, seed=self._seed, step=batch)
        return images, self._world.gather
