"""SimSiam: a siamese network without negatives or momentum (Chen and He 2021, arXiv 2011.10566).

Legend: B batch per rank, D embedding, F features.

Negative cosine similarity, the loss of SimSiam. Legend: B batch, D embedding.
"""

from typing import Any

from torch import Tensor

from train.methods.contract import Forward, Objective, TrainingData
from train.methods.embedder import buffers_of, build_embedder
from train.ranks.world import World
from train.settings.config import PretrainConfig


class SimSiam:
    """Each view predicts the other's embedding through a bottleneck; no gradient flows into what is predicted.

    The projector has three layers, all with batch norm; the predictor's hidden layer is a quarter as wide as the
    embedding in the paper (2048 and 512).
    """

    target = None

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        method = config.method
        self.model = build_embedder(
            config,
            world,
            projector=[method.projector_hidden, method.projector_hidden, method.embedding],
            norm=True,
            last_norm=True,
            predictor=[method.predictor_hidden, method.embedding],
        )

    def before_step(self, progress: float) -> None:
        """Nothing: there is no momentum copy."""

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        loss = negative_cosine(first.prediction, second.embedding) + negative_cosine(second.prediction, first.embedding)
        return Objective(
            loss=loss / 2,
            first=first.embedding.detach(),
            second=second.embedding.detach(),
            features=first.features.detach(),
        )

    def after_backward(self) -> None:
        """Nothing: there is no queue."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state

    def rank_buffers(self) -> dict[str, Tensor]:
        return buffers_of(model=self.model)


def negative_cosine(prediction: Tensor, embedding: Tensor) -> Tensor:
    """Mean negative cosine of normalised predictions (B, D) with normalised embeddings (B, D); -1 to 1, best at -1.

    No gradient flows into ``embedding``: without this stop everything collapses (SimSiam, Chen and He 2021, arXiv
    2011.10566, section 4.1). Computed in fp32 whatever the inputs.
    """
    return -(prediction.float() * embedding.detach().float()).sum(dim=1).mean()
