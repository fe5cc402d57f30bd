"""VICReg: embeddings that agree between views, vary over images and say different things (Bardes, Ponce, LeCun 2022,
arXiv 2105.04906).

Legend: B batch per rank, R ranks, N = R * B, D embedding.
"""

from torch import Tensor

from train.methods.contract import Forward, Method, Objective, TrainingData
from train.methods.embedder import build_embedder
from train.methods.gathered import of_all_ranks
from train.ranks.world import World
from train.settings.config import PretrainConfig

_EPSILON = 1e-4
_VARIANCE = 25.0  # the paper's weight


class VICReg(Method):
    """One network for both views; no negatives, no predictor, no momentum copy, and embeddings that are not normalised.

    Variance and covariance are over the images of all ranks, as if they were one batch. Costs as Barlow Twins: an
    all-gather of both views' embeddings, and matrices of D * D numbers, 0.3 GB each at the paper's width of 8,192.
    """

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        super().__init__(config, world, data)
        method = config.method
        projector = [method.projector_hidden, method.projector_hidden, method.embedding]
        self.model = build_embedder(config, world, projector=projector, norm=True, last_norm=False)

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        everyone = (of_all_ranks(side.raw, self.world) for side in (first, second))  # (N, D) each
        config = self.config
        loss = vicreg(
            *everyone,
            invariance=config.invariance_weight,
            variance=_VARIANCE if config.variance_weight is None else config.variance_weight,
            covariance=config.covariance_weight,
        )
        return Objective.of(loss, first, second)


def vicreg(first: Tensor, second: Tensor, *, invariance: float, variance: float, covariance: float) -> Tensor:
    """The weighted sum of equation 6; a scalar in fp32.

    As in the authors' code, the mean squared distance is over images and dimensions (equation 5 divides by the images
    alone), and variance and covariance are means of the two views (equation 6 has their sum).

    Args:
        first, second: embeddings (N, D) as the projector gives them, row i of both from one image.
        invariance, variance, covariance: weights, the paper's lambda, mu and nu.
    """
    first, second = first.float(), second.float()
    distance = (first - second).square().mean()
    spread = (variance_hinge(first) + variance_hinge(second)) / 2
    shared = (covariance_square(first) + covariance_square(second)) / 2
    return invariance * distance + variance * spread + covariance * shared


def variance_hinge(embeddings: Tensor) -> Tensor:
    """By how much the standard deviations of the D columns of (N, D) fall short of 1, on average; 0 to 1 (equations 1
    and 2)."""
    return (1 - (embeddings.float().var(dim=0) + _EPSILON).sqrt()).relu().mean()


def covariance_square(embeddings: Tensor) -> Tensor:
    """Squared covariances of different columns of (N, D), added up and divided by D (equations 3 and 4)."""
    size, width = embeddings.shape
    centred = embeddings - embeddings.mean(dim=0)
    covariance = centred.T @ centred / (size - 1)  # (D, D)
    off_diagonal: Tensor = covariance.square().sum() - covariance.diagonal().square().sum()
    return off_diagonal / width
