"""What a training loop and its scorers take batches from: positions of a selection, and the model's inputs.

Legend: B examples a batch and process.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from pipeline.loader import Batch, build_loader
from pipeline.options import EngineName
from pipeline.views import ViewSpec
from shards.index import ShardIndex
from train.ranks.world import World


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


class ImageFeed:
    """One view of each image of ``index``, in batches of equal size on all ranks.

    Args:
        beside: the inputs that go with the images at positions (B,) in an epoch; default: none.
        is_training: shuffled, filled up to whole batches. Otherwise each image once, in ``order``.
    """

    def __init__(
        self,
        index: ShardIndex,
        views: ViewSpec,
        *,
        batch_size: int,
        engine: EngineName,
        world: World,
        seed: int = 0,
        is_training: bool = True,
        order: Literal["global", "none"] = "global",
        resident_bytes: int | None = None,
        beside: Callable[[Tensor, int], tuple[Any, ...]] | None = None,
    ) -> None:
        self.index, self._beside = index, beside
        self._loader = build_loader(
            index,
            views,
            batch_size=batch_size,
            num_views=1,
            engine=engine,
            device=world.device,
            seed=seed,
            rank=world.rank,
            world_size=world.size,
            shuffle="auto" if is_training else order,
            last="pad" if is_training else "short",
            resident_bytes=resident_bytes,
        )

    def __iter__(self) -> Iterator[Examples]:
        return map(self._examples, self._loader)

    def state_dict(self) -> dict[str, int]:
        return self._loader.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._loader.load_state_dict(state)

    def close(self) -> None:
        self._loader.close()

    def _examples(self, batch: Batch) -> Examples:
        positions = torch.from_numpy(self.index.positions(batch.rows))
        images = batch.views[0].contiguous(memory_format=torch.channels_last)
        beside = self._beside(positions, self._loader.epoch) if self._beside else ()
        return Examples(positions, (images, *beside))
