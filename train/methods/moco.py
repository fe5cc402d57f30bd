"""Momentum Contrast, version 2 (He et al. 2020, arXiv 1911.05722; Chen et al. 2020, arXiv 2003.04297).

Legend: B batch per rank, R ranks, C channels, H W pixels, D embedding, F features, K queue.
"""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from train.batchnorm import group_norm, split_batchnorm
from train.config import PretrainConfig, norm_strategy
from train.encoders import build_encoder
from train.loss import info_nce
from train.methods.contract import Forward, Objective
from train.methods.embedder import Embedder
from train.momentum import MomentumUpdate
from train.negatives import KeyQueue
from train.precision import autocast
from train.shuffle import Collect, shuffle_across_ranks, shuffle_inside_rank
from train.world import World


class MoCo:
    """A query encoder trained to find its own key among the keys of other images.

    Only ``query`` is given to DeepSpeed. The key encoder and the queue are fp32 state of this object: DeepSpeed would
    broadcast, cast or shard what it is given, and a key encoder in bf16 stops moving.
    """

    def __init__(self, config: PretrainConfig, world: World) -> None:
        self.config, self.world = config.method, world
        self.autocast = partial(autocast, config.run.precision, world.device)
        self.seed = config.run.seed
        strategy = norm_strategy(config, world.size)
        encoder = build_encoder(
            config.encoder.name,
            seed=self.seed,
            weights=config.encoder.weights,
            norm="group" if strategy == "group" else "batch",
        )
        query: nn.Module = Embedder(encoder, config.method, seed=self.seed, channels_last=config.encoder.channels_last)
        if strategy == "split":
            query = split_batchnorm(query, config.norm.num_groups)
        elif strategy == "group":
            query = group_norm(query)
        self.strategy = strategy
        self.query = query.to(world.device)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.negatives = KeyQueue(
            config.method.queue_size, config.method.embedding, seed=self.seed, device=world.device
        )
        self.update_key = MomentumUpdate(self.key.parameters(), self.query.parameters())
        self.fresh_keys: Tensor | None = None

    def before_step(self) -> None:
        self.update_key(self.config.momentum)

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, batch: int) -> Objective:
        query_view, key_view = views  # (B, C, H, W) each
        query, features = forward(query_view)  # (B, D), (B, F)
        key = self._keys(key_view, batch)  # (B, D)
        contrast = info_nce(query, key, self.negatives.keys, temperature=self.config.temperature)
        return Objective(
            loss=contrast.loss,
            accuracy=contrast.accuracy,
            query=query.detach(),
            key=key,
            features=features.detach(),
        )

    def after_backward(self) -> None:
        """Enqueues the batch's keys. Not before the backward pass, which still needs the queue as it was."""
        assert self.fresh_keys is not None
        self.negatives.enqueue(self.fresh_keys)

    @torch.no_grad()
    def _keys(self, images: Tensor, batch: int) -> Tensor:
        """This rank's keys (B, D); the keys of all ranks (R * B, D) are kept to be enqueued."""
        shuffled, collect = self._shuffle(images, batch)
        with self.autocast():
            keys, _ = self.key(shuffled)  # (B, D)
        self.fresh_keys = collect(keys)  # (R * B, D)
        return self.fresh_keys[self.world.rank * len(images) : (self.world.rank + 1) * len(images)]

    def _shuffle(self, images: Tensor, batch: int) -> tuple[Tensor, Collect]:
        match self.strategy:
            case "shuffle":
                return shuffle_across_ranks(images, world=self.world, seed=self.seed, step=batch)
            case "split":
                return shuffle_inside_rank(images, world=self.world, seed=self.seed, step=batch)
        return images, self.world.gather

    def state_dict(self) -> dict[str, Any]:
        return {"key": self.key.state_dict(), "negatives": self.negatives.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.key.load_state_dict(state["key"])
        self.negatives.load_state_dict(state["negatives"])

    def rank_buffers(self) -> dict[str, Tensor]:
        return {
            f"{side}.{name}": buffer
            for side, module in (("query", self.query), ("key", self.key))
            for name, buffer in module.named_buffers()
        }
