"""What a self-supervised method is to the training loop. Legend: B batch, D embedding, F features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The engine's forward of ``Method.query``: views (B, 1, H, W) to embeddings (B, D) and features (B, F)."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What one batch gives. Everything stays on the device; only ``loss`` carries gradients."""

    loss: Tensor
    accuracy: Tensor
    """Pretext accuracy, a scalar 0 to 1."""
    query: Tensor
    """Normalised embeddings of the first views (B, D)."""
    key: Tensor
    """Normalised embeddings of the second views (B, D)."""
    features: Tensor
    """Pooled features of the first views (B, F)."""


class Method(Protocol):
    """A self-supervised method: what is trained, its loss, and its state outside the engine."""

    query: nn.Module
    """The one module that DeepSpeed trains. ``query.encoder`` is what is exported in the end."""

    def before_step(self) -> None:
        """Called once before the first batch of each optimiser step."""

    def objective(self, forward: Forward, views: tuple[Tensor, ...], *, batch: int) -> Objective:
        """The loss of one batch. ``batch`` counts the run's batches and addresses whatever is random."""

    def after_backward(self) -> None:
        """Called after the backward pass of each batch."""

    def state_dict(self) -> dict[str, Any]:
        """State that is equal on all ranks, other than the query's."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""

    def rank_buffers(self) -> dict[str, Tensor]:
        """Buffers that each rank has its own of, such as running statistics, by name; loaded back in place."""
