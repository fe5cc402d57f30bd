"""What a self-supervised method is to the training loop. Legend: B batch, D embedding, F features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from shards.index import ShardIndex
from train.methods.embedder import Embedder, Embedding
from train.methods.momentum.target import Target
from train.methods.momentum.update import momentum_at
from train.ranks.world import World
from train.settings.config import PretrainConfig

Forward = Callable[[Tensor], Any]
"""The engine's forward of ``Method.model``: views (B, 1, H, W) to an :class:`Embedding`."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What one batch gives. Everything stays on the device; only ``loss`` carries gradients."""

    loss: Tensor
    first: Tensor
    """Normalised embeddings of the first views (B, D)."""
    second: Tensor
    """Normalised embeddings of the second views (B, D)."""
    features: Tensor
    """Pooled features of the first views (B, F)."""
    accuracy: Tensor | None = None
    """Pretext accuracy, a scalar 0 to 1; None where the method has no task to be solved."""

    @classmethod
    def of(cls, loss: Tensor, first: Embedding, second: Embedding, *, accuracy: Tensor | None = None) -> Self:
        """Of what the model gave of both views."""
        return cls(
            loss=loss,
            first=first.embedding.detach(),
            second=second.embedding.detach(),
            features=first.features.detach(),
            accuracy=accuracy,
        )


class TrainingData:
    """What a method may know of the images beyond their pixels: whose they are. Never their labels."""

    def __init__(self, index: ShardIndex) -> None:
        self.num_rows = len(index)
        self._patients = torch.full((int(index.rows.max()) + 1,), -1)
        self._patients[torch.from_numpy(index.rows)] = torch.from_numpy(index.patients())

    def patients(self, rows: Tensor) -> Tensor:
        """A number, 0 or more, for each row's patient, (B,) int64, equal within a patient; on the CPU."""
        return self._patients[rows]


class Method(nn.Module):
    """A self-supervised method: what is trained, its loss, and its state outside the engine.

    A subclass makes ``model`` and, if it keeps a momentum copy, ``target``. What else it keeps are buffers, equal on
    all ranks.
    """

    model: Embedder
    """The one module that DeepSpeed trains. ``model.encoder`` is what is exported in the end."""
    target: Target | None
    """The momentum copy: fp32, outside the engine; its ``encoder`` can be exported too."""

    def __init__(self, config: PretrainConfig, world: World, data: TrainingData) -> None:
        super().__init__()
        self.config, self.world, self.data, self.epochs = config.method, world, data, config.run.epochs
        self.target = None

    def before_step(self, progress: float) -> None:
        """Called once before the first batch of each optimiser step; ``progress`` is the share of the run's steps that
        are done, 0 to below 1. The momentum copy follows the model."""
        if self.target is not None:
            config = self.config
            self.target.follow(momentum_at(progress, start=config.momentum, end=config.momentum_end))

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        """The loss of one batch. ``rows`` (B,) on the CPU are what the views show; ``batch`` counts the run's batches
        and addresses whatever is random."""
        raise NotImplementedError

    def predict_small(self, forward: Forward, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What ``model`` predicts, (B, ...) each, of the small crops behind the first two views, in one forward pass;
        none where there are none."""
        small = views[2:]
        if not small:
            return ()
        predictions: tuple[Tensor, ...] = forward(torch.cat(small)).prediction.chunk(len(small))
        return predictions

    def after_backward(self) -> None:
        """Called after the backward pass of each batch."""

    def rank_state(self) -> dict[str, Tensor]:
        """The buffers of the networks, such as running statistics, by name: each rank has its own."""
        kept = self.state_dict().keys()  # without buffers that are computed anew
        networks = ("model.", "target.")
        return {name: value for name, value in self.named_buffers() if name in kept and name.startswith(networks)}

    def shared_state(self) -> dict[str, Any]:
        """All other state, equal on all ranks. With that of the ranks it is what :meth:`load_state_dict` takes."""
        own = self.rank_state()
        return {name: value for name, value in self.state_dict().items() if name not in own}
