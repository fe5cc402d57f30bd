"""Logits of examples under the model as it is, and how good they are on validation images.

Legend: K examples, L labels.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit, logit
from torch import nn

from eval.stats.metrics import auroc
from eval.training.feed import Examples
from eval.training.task import Floats
from pipeline.upload import upload
from shards.base.errors import InputError
from train.engine.precision import Precision, autocast
from train.ranks.world import World

DIVERGED = "lower it, set {section}.gradient_clipping 1, or use {section}.precision fp32"
Scorer = Callable[[nn.Module, int], Floats]
"""Logits (K, L) of a selection's examples under a model, given L."""
_TINIEST = 1e-12  # probability


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How good the model was behind a step: ``aurocs`` (L,), NaN for a label of one class, and the loss per label."""

    step: int
    aurocs: list[float]
    loss: float

    @property
    def mean(self) -> float:
        """Mean AUROC over the labels that have one; NaN where none has."""
        known = [value for value in self.aurocs if value == value]
        return float(np.mean(known)) if known else float("nan")

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better: the mean AUROC, then the loss, which tells models apart that rank a few images alike."""
        return (self.mean if self.mean == self.mean else 0.0, -self.loss)

    def rank_for(self, label: int) -> tuple[float, float]:
        """:attr:`rank` for one label by its number; that of all labels where it has one class only."""
        known = self.aurocs[label]
        return (known, -self.loss) if known == known else self.rank


def validate(step: int, labels: Floats, scores: Floats) -> Validation:
    """Compares logits (K, L) with labels (K, L) of 0, 1 and NaN."""
    is_labelled = np.isfinite(labels)
    aurocs = [auroc(labels[known, i], scores[known, i]) for i, known in enumerate(is_labelled.T)]
    signed = np.where(labels == 1, -scores, scores).astype(np.float64)
    losses = np.logaddexp(0.0, signed)[is_labelled]
    return Validation(step=step, aurocs=aurocs, loss=float(losses.mean()) if losses.size else 0.0)


def mean_scores(scores: list[Floats]) -> Floats:
    """The logits of the mean probability of several models' logits, each (K,)."""
    probability = np.mean([expit(each.astype(np.float64)) for each in scores], axis=0)
    return logit(np.clip(probability, _TINIEST, 1 - _TINIEST)).astype(np.float32)


@torch.inference_mode()
def scores_of(
    model: nn.Module,
    batches: Iterable[Examples],
    *,
    shape: tuple[int, int],
    precision: Precision,
    world: World,
    section: str,
) -> Floats:
    """Logits of shape (K, L), of batches that the ranks share; all ranks call it together and get the same.

    Running statistics have to be the same on all ranks. Leaves the model in evaluation mode.

    Raises:
        InputError: they are not finite.
    """
    model.eval()
    scores = torch.zeros(shape, device=world.device)
    for examples in batches:
        with autocast(precision, world.device):
            logits = model(*examples.inputs)
        scores[upload(examples.positions, logits.device)] = logits
    found: Floats = world.total(scores).cpu().numpy()
    if not np.isfinite(found).all():
        raise InputError(f"{section}.lr: the scores are not finite; {DIVERGED.format(section=section)}")
    return found
