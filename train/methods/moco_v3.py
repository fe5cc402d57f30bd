"""Momentum Contrast, version 3 (Chen, Xie, He 2021, arXiv 2104.02057): a predictor, and no queue.

Legend: B batch per rank, R ranks, D embedding.
"""

import torch
from torch import Tensor

from train.methods.contract import Forward, Method, Objective, TrainingData
from train.methods.embedder import build_embedder
from train.methods.momentum.target import Target
from train.methods.queue.info_nce import Contrast
from train.ranks.world import World
from train.settings.config import PretrainConfig


class MoCoV3(Method):
    """Each view, through a predictor, finds the other's key among the keys of all ranks' batches.

    Hidden layers are 4096 wide in the paper, the embedding 256; the momentum rises from .99 to 1. Vision transformers
    get a projector of three layers, and batch norm behind the predictor; residual networks two, and none. Without a
    queue, batches of a thousand and more are what makes negatives.
    """

    target: Target

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        super().__init__(config, world, data)
        method = config.method
        is_transformer = config.encoder.name.startswith("vit")
        hidden = [method.projector_hidden] * (2 if is_transformer else 1)
        self.model = build_embedder(
            config,
            world,
            projector=[*hidden, method.embedding],
            norm=True,
            last_norm=True,
            predictor=[method.predictor_hidden, method.embedding],
            predictor_last_norm=is_transformer,
        )
        if is_transformer:
            # Spikes of this layer's gradient make training unstable; at random it serves as well (section 4.2).
            self.model.encoder.get_submodule("patch_embed.proj").requires_grad_(False)
        self.target = Target(self.model, config, world)

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        first_keys, second_keys = (self.target.embed(view, batch=batch) for view in views[:2])  # (R * B, D) each
        rank, temperature = self.world.rank, self.config.temperature
        one = batch_nce(first.prediction, second_keys, rank=rank, temperature=temperature)
        other = batch_nce(second.prediction, first_keys, rank=rank, temperature=temperature)
        return Objective.of(one.loss + other.loss, first, second, accuracy=(one.accuracy + other.accuracy) / 2)


def batch_nce(query: Tensor, keys: Tensor, *, rank: int, temperature: float) -> Contrast:
    """InfoNCE of this rank's normalised queries (B, D) against the normalised keys of all ranks (R * B, D).

    The key of query i is ``keys[rank * B + i]``; all others are its negatives. The cross entropy is scaled by twice the
    temperature (MoCo v3, algorithm 1), so that gradients, and with them the learning rate that suits, depend less on
    the temperature. Computed in fp32 whatever the inputs.
    """
    logits = query.float() @ keys.float().T / temperature  # (B, R * B)
    labels = torch.arange(len(query), device=query.device) + rank * len(query)
    positive = logits.gather(1, labels[:, None]).squeeze(1)
    loss = 2 * temperature * (logits.logsumexp(dim=1) - positive).mean()
    others = logits.detach().scatter(1, labels[:, None], -torch.inf)
    accuracy = (positive.detach() > others.amax(dim=1)).float().mean()
    return Contrast(loss, accuracy)
