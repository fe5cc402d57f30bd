"""Barlow Twins: embeddings whose dimensions agree between views and say different things (Zbontar et al. 2021, arXiv
2103.03230).

Legend: B batch per rank, R ranks, D embedding.
"""

from typing import Any

from torch import Tensor, nn

from train.config import PretrainConfig
from train.losses.barlow_twins import barlow_twins, with_gradient
from train.methods.contract import Forward, Objective, TrainingData
from train.methods.embedder import buffers_of, build_embedder
from train.world import World


class BarlowTwins:
    """One network for both views; no negatives, no predictor, no momentum copy.

    The correlation is over the images of all ranks, as if they were one batch. It costs an all-gather of both views'
    embeddings, and some matrices of D * D numbers: 0.3 GB each at the paper's width of 8,192.
    """

    target: nn.Module | None = None

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        method = config.method
        self.config, self.world = method, world
        projector = [method.projector_hidden, method.projector_hidden, method.embedding]
        self.model = build_embedder(config, world, projector=projector, norm=True, last_norm=False)

    def before_step(self, progress: float) -> None:
        """Nothing follows the model."""

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        loss = barlow_twins(self._all_ranks(first.raw), self._all_ranks(second.raw), redundancy=self.config.redundancy)
        return Objective(
            loss=loss,
            first=first.embedding.detach(),
            second=second.embedding.detach(),
            features=first.features.detach(),
        )

    def _all_ranks(self, own: Tensor) -> Tensor:
        return with_gradient(own, self.world.gather(own.detach()), rank=self.world.rank)  # (R * B, D)

    def after_backward(self) -> None:
        """Nothing is kept of a batch."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """All state is the model's."""

    def rank_buffers(self) -> dict[str, Tensor]:
        return buffers_of(model=self.model)
