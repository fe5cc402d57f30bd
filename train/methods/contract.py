"""What a self-supervised method is to the training loop. Legend: B batch, D embedding, F features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from shards.index import ShardIndex

Forward = Callable[[Tensor], Any]
"""The engine's forward of ``Method.model``: views (B, 1, H, W) to what the model gives."""


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


class TrainingData:
    """What a method may know of the images beyond their pixels: whose they are. Never their labels."""

    def __init__(self, index: ShardIndex) -> None:
        self.num_rows = len(index)
        self._patients = torch.full((int(index.rows.max()) + 1,), -1)
        self._patients[torch.from_numpy(index.rows)] = torch.from_numpy(index.patients())

    def patients(self, rows: Tensor) -> Tensor:
        """A number, 0 or more, for each row's patient, (B,) int64, equal within a patient; on the CPU."""
        return self._patients[rows]


class Method(Protocol):
    """A self-supervised method: what is trained, its loss, and its state outside the engine."""

    @property
    def model(self) -> nn.Module:
        """The one module that DeepSpeed trains. ``model.encoder`` is what is exported in the end."""

    @property
    def target(self) -> nn.Module | None:
        """A momentum copy, if the method keeps one: fp32, outside the engine; its ``encoder`` can be exported too."""

    def before_step(self, progress: float) -> None:
        """Called once before the first batch of each optimiser step; ``progress`` is the share of the run's steps that
        are done, 0 to below 1."""

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, rows: Tensor, batch: int) -> Objective:
        """The loss of one batch. ``rows`` (B,) on the CPU are what the views show; ``batch`` counts the run's batches
        and addresses whatever is random."""

    def after_backward(self) -> None:
        """Called after the backward pass of each batch."""

    def state_dict(self) -> dict[str, Any]:
        """State that is equal on all ranks, other than the model's; without what :meth:`rank_buffers` gives."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""

    def rank_buffers(self) -> dict[str, Tensor]:
        """Buffers that each rank has its own of, such as running statistics, by name; loaded back in place."""
