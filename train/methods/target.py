"""The momentum copy of what is trained: MoCo's key encoder, BYOL's target network.

Legend: B batch per rank, R ranks, C channels, H W pixels, D embedding.
"""

import copy
from functools import partial

import torch
from torch import Tensor

from train.engine.precision import autocast
from train.methods.embedder import Embedder
from train.methods.momentum import MomentumUpdate
from train.methods.shuffle import Collect, shuffle_across_ranks, shuffle_inside_rank
from train.ranks.world import World
from train.settings.config import PretrainConfig, norm_strategy


class Target:
    """A copy of ``source`` that follows it slowly, in fp32 and outside DeepSpeed, which would broadcast, cast or shard
    it; in bf16 it would stop moving. A predictor is left out. Its batch norm stays in training mode and keeps
    statistics of its own, which are buffers of ``module``, not state.

    Calling it gives the embeddings of all ranks, from images that were dealt to batch norm otherwise than the queries'.
    """

    def __init__(self, source: Embedder, config: PretrainConfig, world: World) -> None:
        self.module = copy.deepcopy(source).requires_grad_(False)
        self.module.predictor = None
        followed = dict(source.named_parameters())
        self._follow = MomentumUpdate(
            self.module.parameters(), [followed[name] for name, _ in self.module.named_parameters()]
        )
        self._strategy, self._seed, self._world = norm_strategy(config, world.size), config.run.seed, world
        self._autocast = partial(autocast, config.run.precision, world.device)

    def follow(self, momentum: float) -> None:
        """Moves ``1 - momentum`` of the way to the source."""
        self._follow(momentum)

    @torch.no_grad()
    def __call__(self, images: Tensor, *, batch: int) -> Tensor:
        """Embeddings of all ranks (R * B, D) for this rank's images (B, C, H, W), in rank order.

        Args:
            batch: the run's number of this batch; addresses the shuffle.
        """
        shuffled, collect = self._shuffle(images, batch)
        with self._autocast():
            embedding: Tensor = self.module(shuffled).embedding  # (B, D)
        return collect(embedding)

    def mine(self, everyone: Tensor) -> Tensor:
        """This rank's share (B, D) of what a call gave."""
        return everyone.chunk(self._world.size)[self._world.rank]

    def state_dict(self) -> dict[str, Tensor]:
        """The parameters, equal on all ranks."""
        return {name: parameter.detach() for name, parameter in self.module.named_parameters()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        parameters = dict(self.module.named_parameters())
        assert parameters.keys() == state.keys()
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state[name])

    def _shuffle(self, images: Tensor, batch: int) -> tuple[Tensor, Collect]:
        match self._strategy:
            case "shuffle":
                return shuffle_across_ranks(images, world=self._world, seed=self._seed, step=batch)
            case "split":
                return shuffle_inside_rank(images, world=self._world, seed=self._seed, step=batch)
        return images, self._world.gather
