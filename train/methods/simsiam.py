"""SimSiam: a siamese network without negatives or momentum (Chen and He 2021, arXiv 2011.10566).

Legend: B batch per rank, D embedding.
"""

from torch import Tensor

from train.methods.contract import Forward, Method, Objective, TrainingData
from train.methods.embedder import build_embedder
from train.ranks.world import World
from train.settings.config import PretrainConfig


class SimSiam(Method):
    """Each view predicts the other's embedding through a bottleneck; no gradient flows into what is predicted.

    The projector has three layers, all with batch norm; the predictor's hidden layer is a quarter as wide as the
    embedding in the paper (2048 and 512).
    """

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        super().__init__(config, world, data)
        method = config.method
        self.model = build_embedder(
            config,
            world,
            projector=[method.projector_hidden, method.projector_hidden, method.embedding],
            norm=True,
            last_norm=True,
            predictor=[method.predictor_hidden, method.embedding],
        )

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        loss = negative_cosine(first.prediction, second.embedding) + negative_cosine(second.prediction, first.embedding)
        return Objective.of(loss / 2, first, second)


def negative_cosine(prediction: Tensor, embedding: Tensor) -> Tensor:
    """Mean negative cosine of normalised predictions (B, D) with normalised embeddings (B, D); -1 to 1, best at -1.

    No gradient flows into ``embedding``: without this stop everything collapses (section 4.1). Computed in fp32
    whatever the inputs.
    """
    return -(prediction.float() * embedding.detach().float()).sum(dim=1).mean()
