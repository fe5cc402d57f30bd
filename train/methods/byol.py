"""BYOL: Bootstrap Your Own Latent (Grill et al. 2020, arXiv 2006.07733).

Legend: B batch per rank, D embedding, F features.

Squared distance of normalised vectors, the loss of BYOL. Legend: B batch, D embedding.
"""

from typing import Any

from torch import Tensor, nn

from train.methods.contract import Forward, Objective, TrainingData
from train.methods.embedder import buffers_of, build_embedder
from train.methods.momentum import momentum_at
from train.methods.target import Target
from train.ranks.world import World
from train.settings.config import PretrainConfig


class BYOL:
    """An online network that predicts, from each view, what its momentum copy makes of the other.

    Projector and predictor have two layers, with batch norm behind the hidden one (4096 wide in the paper, the
    embedding 256); the momentum rises from .996 to 1.
    """

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        self.config = config.method
        self.model = build_embedder(
            config,
            world,
            projector=[self.config.projector_hidden, self.config.embedding],
            norm=True,
            last_norm=False,
            predictor=[self.config.predictor_hidden, self.config.embedding],
        )
        self.slow = Target(self.model, config, world)

    @property
    def target(self) -> nn.Module:
        return self.slow.module

    def before_step(self, progress: float) -> None:
        self.slow.follow(momentum_at(progress, start=self.config.momentum, end=self.config.momentum_end))

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        first_target, second_target = (self.slow.mine(self.slow(view, batch=batch)) for view in views[:2])
        loss = normalised_mse(first.prediction, second_target) + normalised_mse(second.prediction, first_target)
        return Objective(
            loss=loss,
            first=first.embedding.detach(),
            second=second.embedding.detach(),
            features=first.features.detach(),
        )

    def after_backward(self) -> None:
        """Nothing: there is no queue."""

    def state_dict(self) -> dict[str, Any]:
        return {"target": self.slow.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.slow.load_state_dict(state["target"])

    def rank_buffers(self) -> dict[str, Tensor]:
        return buffers_of(model=self.model, target=self.target)


def normalised_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of normalised predictions (B, D) from normalised targets (B, D); 0 to 4, best at 0.

    BYOL (Grill et al. 2020, arXiv 2006.07733), equation 2; equal to 2 - 2 cosine. Computed in fp32 whatever the inputs.
    """
    return (prediction.float() - target.detach().float()).square().sum(dim=1).mean()
