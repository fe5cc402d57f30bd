"""SwAV: each view predicts to which prototypes the other is assigned (Caron et al. 2020, arXiv 2006.09882).

Without the paper's queue of embeddings for small batches: where there are fewer images a step than prototypes, codes
are softer.

Legend: B batch per rank, R ranks, N = R * B, D embedding, P prototypes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from train.methods.contract import Forward, Method, Objective, TrainingData
from train.methods.prototypes import PrototypeEmbedder, build_prototype_embedder
from train.ranks.world import World
from train.settings.config import PretrainConfig


class SwAV(Method):
    """One network for both views; codes are made over the images of all ranks and carry no gradient."""

    model: PrototypeEmbedder

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        super().__init__(config, world, data)
        method = config.method
        projector = [method.projector_hidden, method.embedding]
        self.model = build_prototype_embedder(config, world, projector=projector, norm=True)

    def before_step(self, progress: float) -> None:
        self.model.are_frozen = progress * self.epochs < self.config.freeze_prototypes_epochs

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        scores = (first.prediction, second.prediction, *self.predict_small(forward, views))  # (B, P) each
        codes = (self._codes(scores[0]), self._codes(scores[1]))  # small crops have none
        return Objective.of(swapped_prediction(scores, codes, temperature=self.config.temperature), first, second)

    def _codes(self, scores: Tensor) -> Tensor:
        """This rank's share (B, P) of the codes of all ranks' images."""
        everyone = self.world.gather(scores.detach())
        config = self.config
        codes = sinkhorn(everyone, epsilon=config.sinkhorn_epsilon, iterations=config.sinkhorn_iterations)
        return codes.chunk(self.world.size)[self.world.rank]


@torch.no_grad()
def sinkhorn(scores: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Codes (N, P) of embeddings by their scores (N, P), cosines with the prototypes: soft assignments, each row
    summing to 1, that use all prototypes about equally (section 3.1).

    In logarithms, so that a small ``epsilon`` cannot overflow. No gradient flows through codes.
    """
    log_codes = scores.float() / epsilon
    for _ in range(iterations):
        log_codes = log_codes - log_codes.logsumexp(dim=0, keepdim=True)  # prototypes
        log_codes = log_codes - log_codes.logsumexp(dim=1, keepdim=True)  # images
    return log_codes.exp()


def swapped_prediction(scores: tuple[Tensor, ...], codes: tuple[Tensor, Tensor], *, temperature: float) -> Tensor:
    """Cross entropy of each view's scores (B, P) against the codes (B, P) of the first two views, each without its own,
    averaged over images and views, then over the codes (equations 1, 2 and 6); a scalar in fp32."""
    predictions = [F.log_softmax(view.float() / temperature, dim=1) for view in scores]
    terms = [
        -(code * prediction).sum(dim=1).mean()
        for i, code in enumerate(codes)
        for j, prediction in enumerate(predictions)
        if i != j
    ]
    return torch.stack(terms).mean()
