"""Barlow Twins: embeddings whose dimensions agree between views and say different things (Zbontar et al. 2021, arXiv
2103.03230).

Legend: B batch per rank, R ranks, N = R * B, D embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from train.methods.contract import Forward, Method, Objective, TrainingData
from train.methods.embedder import build_embedder
from train.ranks.world import World
from train.settings.config import PretrainConfig


class BarlowTwins(Method):
    """One network for both views; no negatives, no predictor, no momentum copy.

    The correlation is over the images of all ranks, as if they were one batch. It costs an all-gather of both views'
    embeddings, and some matrices of D * D numbers: 0.3 GB each at the paper's width of 8,192.
    """

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        super().__init__(config, world, data)
        method = config.method
        projector = [method.projector_hidden, method.projector_hidden, method.embedding]
        self.model = build_embedder(config, world, projector=projector, norm=True, last_norm=False)

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        loss = barlow_twins(self._all_ranks(first.raw), self._all_ranks(second.raw), redundancy=self.config.redundancy)
        return Objective.of(loss, first, second)

    def _all_ranks(self, own: Tensor) -> Tensor:
        return with_gradient(own, self.world.gather(own.detach()), rank=self.world.rank)  # (R * B, D)


def barlow_twins(first: Tensor, second: Tensor, *, redundancy: float) -> Tensor:
    """How far the cross-correlation of two views' embeddings is from the identity (equation 1); a scalar in fp32.

    Args:
        first, second: embeddings (N, D) as the projector gives them, row i of both from one image. Each column is
            standardised over the N rows here.
        redundancy: weight of the D * (D - 1) terms off the diagonal, the paper's lambda.
    """
    first, second = (F.batch_norm(side.float(), None, None, training=True) for side in (first, second))
    correlation = first.T @ second / len(first)  # (D, D)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * off_diagonal


def with_gradient(own: Tensor, everyone: Tensor, *, rank: int) -> Tensor:
    """``everyone`` (R * B, D), gathered without gradient, with this rank's share replaced by ``own`` (B, D).

    A loss of the result is the same on each rank, but only the gradient of the rank's own share flows. DeepSpeed then
    averages over ranks where those R shares should be summed, so the gradient is multiplied by R: trained this way, R
    ranks of B images are one process of R * B.
    """
    size = len(own)
    num_ranks = len(everyone) // size
    scaled = own.detach() + num_ranks * (own - own.detach())  # the value of ``own`` to the bit, R times its gradient
    return torch.cat([everyone[: rank * size], scaled, everyone[(rank + 1) * size :]])
