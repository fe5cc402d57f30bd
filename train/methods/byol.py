"""BYOL: Bootstrap Your Own Latent (Grill et al. 2020, arXiv 2006.07733). Legend: B batch per rank, D embedding."""

from torch import Tensor

from train.methods.contract import Forward, Method, Objective, TrainingData
from train.methods.embedder import build_embedder
from train.methods.momentum.target import Target
from train.ranks.world import World
from train.settings.config import PretrainConfig


class BYOL(Method):
    """An online network that predicts, from each view, what its momentum copy makes of the other.

    Projector and predictor have two layers, with batch norm behind the hidden one (4096 wide in the paper, the
    embedding 256); the momentum rises from .996 to 1.
    """

    target: Target

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        super().__init__(config, world, data)
        method = config.method
        self.model = build_embedder(
            config,
            world,
            projector=[method.projector_hidden, method.embedding],
            norm=True,
            last_norm=False,
            predictor=[method.predictor_hidden, method.embedding],
        )
        self.target = Target(self.model, config, world)

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        first_target, second_target = (self.target.own(self.target.embed(view, batch=batch)) for view in views[:2])
        loss = normalised_mse(first.prediction, second_target) + normalised_mse(second.prediction, first_target)
        return Objective.of(loss, first, second)


def normalised_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of normalised predictions (B, D) from normalised targets (B, D); 0 to 4, best at 0.

    Equation 2, equal to 2 - 2 cosine. Computed in fp32 whatever the inputs.
    """
    return (prediction.float() - target.detach().float()).square().sum(dim=1).mean()
