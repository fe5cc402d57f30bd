"""Momentum Contrast, version 2 (He et al. 2020, arXiv 1911.05722; Chen et al. 2020, arXiv 2003.04297), and v2+, which
takes the loss both ways and lets the momentum rise (Chen et al. 2021, arXiv 2104.02057, where it is the baseline).

Legend: B batch per rank, R ranks, C channels, H W pixels, D embedding, F features, K queue.
"""

from typing import Any

from torch import Tensor, nn

from train.methods.contract import Forward, Objective, TrainingData
from train.methods.embedder import buffers_of, build_embedder
from train.methods.info_nce import Contrast, info_nce
from train.methods.key_queue import KeyQueue
from train.methods.momentum import momentum_at
from train.methods.target import Target
from train.ranks.world import World
from train.settings.config import PretrainConfig


class MoCo:
    """A query encoder trained to find its own key among the keys of other images.

    Only the query encoder, ``model``, is given to DeepSpeed. The key encoder and the queue are state of this object.
    """

    is_symmetric = False

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        method = config.method
        self.config, self.world, self.data = method, world, data
        projector = [method.projector_hidden, method.embedding]
        norm = method.projector_norm
        self.model = build_embedder(config, world, projector=projector, norm=norm, last_norm=norm)
        self.key = Target(self.model, config, world)
        self.negatives = KeyQueue(method.queue_size, method.embedding, seed=config.run.seed, device=world.device)
        self._fresh: list[tuple[Tensor, Tensor]] = []  # keys (R * B, D) and this rank's patients (B,)

    @property
    def target(self) -> nn.Module:
        return self.key.module

    def before_step(self, progress: float) -> None:
        self.key.follow(momentum_at(progress, start=self.config.momentum, end=self.config.momentum_end))

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        patients = self.data.patients(rows).to(self.world.device, non_blocking=True)  # (B,)
        first = forward(views[0])
        keys = self.key(views[1], batch=batch)  # (R * B, D)
        contrast = self._contrast(first.embedding, self.key.mine(keys), patients)
        self._fresh = [(keys, patients)]
        loss, accuracy = contrast.loss, contrast.accuracy
        if self.is_symmetric:
            second = forward(views[1])
            other_keys = self.key(views[0], batch=batch)
            other = self._contrast(second.embedding, self.key.mine(other_keys), patients)
            self._fresh.append((other_keys, patients))
            loss, accuracy = (loss + other.loss) / 2, (accuracy + other.accuracy) / 2
        return Objective(
            loss=loss,
            accuracy=accuracy,
            first=first.embedding.detach(),
            second=self.key.mine(keys),
            features=first.features.detach(),
        )

    def after_backward(self) -> None:
        """Enqueues the batch's keys: behind the backward pass, which still needs the queue as it was, and so behind
        both terms of a symmetric loss."""
        for keys, patients in self._fresh:
            self.negatives.enqueue(keys, self.world.gather(patients))
        self._fresh = []

    def _contrast(self, query: Tensor, key: Tensor, patients: Tensor) -> Contrast:
        masked = None
        if self.config.mask_same_patient:
            masked = patients[:, None] == self.negatives.patients  # (B, K)
        return info_nce(query, key, self.negatives.keys, temperature=self.config.temperature, masked=masked)

    def state_dict(self) -> dict[str, Any]:
        return {"key": self.key.state_dict(), "negatives": self.negatives.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.key.load_state_dict(state["key"])
        self.negatives.load_state_dict(state["negatives"])

    def rank_buffers(self) -> dict[str, Tensor]:
        return buffers_of(model=self.model, target=self.target)


class SymmetricMoCo(MoCo):
    """MoCo v2+: each view is the query of the other's key."""

    is_symmetric = True
