"""Logits of images under the model as it is, and how good they are on validation images.

Legend: K images, L labels.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, logit
from torch import Tensor, nn

from eval.stats.metrics import auroc
from eval.training.feed import Examples, ImageFeed
from pipeline.options import EngineName
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.engine.precision import Precision, autocast
from train.ranks.world import World

Floats = npt.NDArray[np.float32]
_PIXEL_BYTES = 2 * 10**9  # decoded validation images that are kept between their scorings: 20,000 at 320 px
_BATCH = 64
DIVERGED = "lower it, set {field}.gradient_clipping 1, or use {field}.precision fp32"
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


class Scorer:
    """Scores the same images again and again; the ranks share them.

    Args:
        repeats: decoded images are kept from one scoring to the next, if they are few enough.
        beside: the model's further inputs, as :class:`eval.training.feed.ImageFeed` takes it.
        field: section of the settings, which errors name.
    """

    def __init__(
        self,
        index: ShardIndex,
        views: ViewSpec,
        *,
        engine: EngineName,
        repeats: bool,
        precision: Precision,
        world: World,
        beside: Callable[[Tensor, int], tuple[Any, ...]] | None = None,
        field: str = "finetune",
    ) -> None:
        self.index, self.precision, self.world, self.field = index, precision, world, field
        self._feed: ImageFeed | None = None
        if len(index):
            self._feed = ImageFeed(
                index,
                views.evaluation(),
                batch_size=_BATCH,
                engine=engine,
                world=world,
                is_training=False,
                order="global" if repeats else "none",
                resident_bytes=_PIXEL_BYTES,
                beside=beside,
            )

    def __call__(self, model: nn.Module, num_labels: int) -> Floats:
        """Logits (K, L) in the order of the index; see :func:`scores_of`."""
        if self._feed is not None:
            self._feed.load_state_dict({"seed": 0, "epoch": 0, "position": 0})  # the same batches each time
        return scores_of(
            model,
            self._feed or (),
            shape=(len(self.index), num_labels),
            precision=self.precision,
            world=self.world,
            field=self.field,
        )

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()


@torch.inference_mode()
def scores_of(
    model: nn.Module,
    batches: Iterable[Examples],
    *,
    shape: tuple[int, int],
    precision: Precision,
    world: World,
    field: str,
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
        scores[examples.positions.to(logits.device)] = logits
    found: Floats = world.total(scores).cpu().numpy()
    if not np.isfinite(found).all():
        raise InputError(f"{field}.lr: the scores are not finite; {DIVERGED.format(field=field)}")
    return found
