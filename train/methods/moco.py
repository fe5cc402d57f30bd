"""Momentum Contrast, version 2 (He et al. 2020, arXiv 1911.05722; Chen et al. 2020, arXiv 2003.04297), and v2+, which
takes the loss both ways and lets the momentum rise (Chen et al. 2021, arXiv 2104.02057, where it is the baseline).

Legend: B batch per rank, R ranks, D embedding, K queue.
"""

import torch
from torch import Tensor

from pipeline.upload import upload
from train.methods.contract import Forward, Method, Objective, TrainingData
from train.methods.embedder import Embedding, build_embedder
from train.methods.gathered import of_all_ranks
from train.methods.momentum.target import Target
from train.methods.queue.info_nce import Contrast, info_nce
from train.methods.queue.key_queue import KeyQueue
from train.methods.vicreg import variance_hinge
from train.ranks.world import World
from train.settings.config import PretrainConfig


class MoCo(Method):
    """A query encoder trained to find its own key among the keys of other images.

    ``model`` is the query encoder, ``target`` the key encoder, ``negatives`` the queue. ``method.variance_weight`` adds
    VICReg's variance term, which is none of MoCo's: against embeddings that all come to be one.
    """

    target: Target
    is_symmetric = False

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        super().__init__(config, world, data)
        method = config.method
        projector = [method.projector_hidden, method.embedding]
        norm = method.projector_norm
        self.model = build_embedder(config, world, projector=projector, norm=norm, last_norm=norm)
        self.target = Target(self.model, config, world)
        self.negatives = KeyQueue(method.queue_size, method.embedding, seed=config.run.seed, device=world.device)
        self._fresh: list[tuple[Tensor, Tensor]] = []  # keys (R * B, D) and this rank's patients (B,)

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        patients = upload(self.data.patients(rows), self.world.device)  # (B,)
        first = forward(views[0])
        keys = self.target.embed(views[1], batch=batch)  # (R * B, D)
        contrast = self._contrast(first.embedding, self.target.own(keys), patients)
        self._fresh = [(keys, patients)]
        loss, accuracy, queries = contrast.loss, contrast.accuracy, [first]
        if self.is_symmetric:
            second = forward(views[1])
            queries.append(second)
            other_keys = self.target.embed(views[0], batch=batch)
            other = self._contrast(second.embedding, self.target.own(other_keys), patients)
            self._fresh.append((other_keys, patients))
            loss, accuracy = (loss + other.loss) / 2, (accuracy + other.accuracy) / 2
        if self.config.variance_weight:
            loss = loss + self.config.variance_weight * self._lack_of_variance(queries)
        return Objective(
            loss=loss,
            accuracy=accuracy,
            first=first.embedding.detach(),
            second=self.target.own(keys),
            features=first.features.detach(),
        )

    def after_backward(self) -> None:
        """Enqueues the batch's keys: behind the backward pass, which still needs the queue as it was, and so behind
        both terms of a symmetric loss."""
        for keys, patients in self._fresh:
            self.negatives.enqueue(keys, self.world.gather(patients))
        self._fresh = []

    def _lack_of_variance(self, queries: list[Embedding]) -> Tensor:
        """VICReg's variance term of the queries of all ranks, as they are before they are normalised."""
        hinges = [variance_hinge(of_all_ranks(query.raw, self.world)) for query in queries]
        return torch.stack(hinges).mean()

    def _contrast(self, query: Tensor, key: Tensor, patients: Tensor) -> Contrast:
        masked = None
        if self.config.mask_same_patient:
            masked = patients[:, None] == self.negatives.patients  # (B, K)
        return info_nce(query, key, self.negatives.keys, temperature=self.config.temperature, masked=masked)


class SymmetricMoCo(MoCo):
    """MoCo v2+: each view is the query of the other's key."""

    is_symmetric = True
