"""DINO: a student that says what its momentum copy, the teacher, says of other views (Caron et al. 2021, arXiv
2104.14294).

Legend: B batch per rank, R ranks, D embedding, P prototypes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from train.methods.contract import Forward, Method, Objective, TrainingData
from train.methods.momentum.target import Target
from train.methods.prototypes import PrototypeEmbedder, build_prototype_embedder, cosines
from train.ranks.world import World
from train.settings.config import PretrainConfig


class DINO(Method):
    """Self-distillation: the teacher's outputs are centred, against one prototype for all, and sharpened, against all
    prototypes alike; neither negatives nor a predictor. The teacher sees the first two views, the student the small
    crops too.

    The projector has three layers with GELU, ending in a bottleneck (2048 wide in the paper, the embedding 256), then
    the prototypes (65,536 in the paper). The teacher is exported with ``run.export_key``; the paper evaluates it.
    """

    model: PrototypeEmbedder
    target: Target
    center: Tensor  # (P,)

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        super().__init__(config, world, data)
        method = config.method
        projector = [method.projector_hidden, method.projector_hidden, method.embedding]
        self.model = build_prototype_embedder(config, world, projector=projector, norm=method.projector_norm, gelu=True)
        self.target = Target(self.model, config, world)
        self.register_buffer("center", torch.zeros(method.num_prototypes, device=world.device))
        self._mean: Tensor | None = None  # (P,) of the batch's teacher outputs
        self._teacher_temperature = method.teacher_temperature

    def before_step(self, progress: float) -> None:
        super().before_step(progress)
        config, epoch = self.config, progress * self.epochs
        self.model.are_frozen = epoch < config.freeze_prototypes_epochs
        self._teacher_temperature = warmed_up(
            epoch,
            start=config.teacher_temperature,
            end=config.teacher_temperature_end,
            warmup_epochs=config.teacher_warmup_epochs,
        )

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        first, second = forward(views[0]), forward(views[1])
        prototypes = self.target.prototypes
        assert prototypes is not None
        everyone = [self.target.embed(view, batch=batch) for view in views[:2]]  # (R * B, D) each
        teacher = [cosines(self.target.own(embeddings), prototypes) for embeddings in everyone]  # (B, P) each
        # The mean of cosines is that of the embeddings with the prototypes: no rank computes the others' outputs.
        self._mean = cosines(torch.cat(everyone).mean(dim=0, keepdim=True), prototypes).squeeze(0)
        loss = self_distillation(
            [first.prediction, second.prediction, *self.predict_small(forward, views)],
            teacher,
            center=self.center,
            temperature=self.config.temperature,
            teacher_temperature=self._teacher_temperature,
        )
        return Objective.of(loss, first, second)

    def after_backward(self) -> None:
        """Moves the centre towards the mean of what the teacher said of all ranks' images (equation 4)."""
        if self._mean is not None:
            self.center.lerp_(self._mean, 1 - self.config.center_momentum)
            self._mean = None


def self_distillation(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    *,
    center: Tensor,
    temperature: float,
    teacher_temperature: float,
) -> Tensor:
    """Cross entropy of the student's outputs against the teacher's, averaged over images and over all pairs of
    different views (equation 3, which has the sum, and algorithm 1); a scalar in fp32. No gradient flows into the
    teacher.

    Args:
        student: outputs (B, P) of each view, the teacher's first.
        teacher: outputs (B, P) of the first views.
        center: (P,), taken from the teacher's outputs.
    """
    targets = [((view.detach().float() - center) / teacher_temperature).softmax(dim=1) for view in teacher]
    predictions = [(view.float() / temperature).log_softmax(dim=1) for view in student]
    terms = [
        -(target * prediction).sum(dim=1).mean()
        for i, target in enumerate(targets)
        for j, prediction in enumerate(predictions)
        if i != j
    ]
    return torch.stack(terms).mean()


def warmed_up(epoch: float, *, start: float, end: float | None, warmup_epochs: float) -> float:
    """The teacher's temperature: ``start`` throughout, or, where ``end`` is given, rising to it in a line over
    ``warmup_epochs``."""
    if end is None:
        return start
    share = 1.0 if epoch >= warmup_epochs else epoch / warmup_epochs
    return start + (end - start) * share
