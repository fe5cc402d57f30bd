"""SimCLR: two views of an image find each other among all views of a batch (Chen et al. 2020, arXiv 2002.05709).

Legend: B batch per rank, R ranks, N = R * B, D embedding.
"""

import torch
from torch import Tensor

from train.methods.contract import Forward, Method, Objective, TrainingData
from train.methods.embedder import build_embedder
from train.methods.gathered import of_all_ranks
from train.methods.queue.info_nce import Contrast
from train.ranks.world import World
from train.settings.config import PretrainConfig


class SimCLR(Method):
    """One network for both views; the other images of all ranks' batches are the negatives.

    The projector has two layers, both with batch norm, as in the authors' code (2048 wide, the embedding 128). It costs
    an all-gather of both views' embeddings and a matrix of 4 * N * N logits: 67 MB at 2,048 images a step.
    """

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        super().__init__(config, world, data)
        projector = [config.method.projector_hidden, config.method.embedding]
        self.model = build_embedder(config, world, projector=projector, norm=True, last_norm=True)

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        everyone = (of_all_ranks(side.embedding, self.world) for side in (first, second))  # (N, D) each
        contrast = nt_xent(*everyone, temperature=self.config.temperature)
        return Objective.of(contrast.loss, first, second, accuracy=contrast.accuracy)


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Contrast:
    """The normalised, temperature-scaled cross entropy of 2N views (equation 1 and algorithm 1): each view's positive
    is the other of its image, the 2N - 2 views of other images are its negatives. Computed in fp32 whatever the inputs.

    Args:
        first, second: normalised embeddings (N, D), row i of both from one image.
    """
    views = torch.cat([first, second]).float()  # (2N, D)
    size = len(first)
    own = torch.arange(2 * size, device=views.device)
    other = own.roll(size)  # where the other view of the image is
    logits = (views @ views.T / temperature).scatter(1, own[:, None], -torch.inf)  # (2N, 2N); none is told from itself
    positive = logits.gather(1, other[:, None]).squeeze(1)
    loss = (logits.logsumexp(dim=1) - positive).mean()
    others = logits.detach().scatter(1, other[:, None], -torch.inf)
    accuracy = (positive.detach() > others.amax(dim=1)).float().mean()
    return Contrast(loss, accuracy)
