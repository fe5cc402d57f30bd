"""Barlow Twins: embeddings whose dimensions agree between views and say different things (Zbontar et al. 2021, arXiv
2103.03230).

Legend: B batch per rank, R ranks, N = R * B, D embedding.
"""

import torch.nn.functional as F
from torch import Tensor

from train.methods.contract import Forward, Method, Objective, TrainingData
from train.methods.embedder import build_embedder
from train.methods.gathered import of_all_ranks
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
        everyone = (of_all_ranks(side.raw, self.world) for side in (first, second))  # (N, D) each
        return Objective.of(barlow_twins(*everyone, redundancy=self.config.redundancy), first, second)


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
