"""What a training loop and its scorers take batches from: positions of a selection, and the model's inputs.

Legend: B examples a batch and process.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Examples:
    """``positions`` (B,) int64 in the selection, on the CPU; ``inputs`` of the model, on the device."""

    positions: Tensor
    inputs: tuple[Any, ...]


class Feed(Protocol):
    """Iterates what is left of the current epoch, then moves to the next one, as :class:`pipeline.loader.Loader`."""

    def __iter__(self) -> Iterator[Examples]: ...
    def state_dict(self) -> dict[str, int]: ...
    def load_state_dict(self, state: dict[str, int]) -> None: ...
    def close(self) -> None: ...
