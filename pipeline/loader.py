"""The one door to batches of views: ``build_loader``.

index = ShardIndex.open("data/chexpert").where(split="train")
with build_loader(index, PRESETS["moco_cxr"], batch_size=64) as loader:
    for batch in loader:
        query, key = batch.views     # (B, 1, S, S) float32, normalised
        labels = index.labels(...)   # labels join by batch.rows
"""

import os
import time
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import numpy as np
import torch

from pipeline.engine import Engine, Request
from pipeline.order import Order
from pipeline.views import ViewSpec, affines, tones
from shards.errors import InputError
from shards.index import ShardIndex

EngineName = Literal["auto", "dali", "kornia"]
_ALIASING_SCALE = 0.5  # below it, one bilinear warp skips pixels


@dataclass(frozen=True)
class Batch:
    """``views``: one tensor a view, (B, 1, S, S) float32 on the device. ``rows``: (B,) int64 on the CPU."""

    views: tuple[torch.Tensor, ...]
    rows: torch.Tensor


class Loader:
    """Iterates what is left of the current epoch, then moves to the next one.

    ``wait_seconds`` sums the time that the consumer was kept waiting.
    """

    def __init__(self, index: ShardIndex, spec: ViewSpec, order: Order, engine: Engine, *, num_views: int) -> None:
        self.engine = engine
        self.epoch = 0
        self.wait_seconds = 0.0
        self._index, self._spec, self._order, self._num_views = index, spec, order, num_views
        self._position = 0
        self._sizes = index.sizes()

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return self._order.num_batches

    def __iter__(self) -> Iterator[Batch]:
        planned: deque[Request] = deque()
        grey_batches = self.engine.run(self._plan(planned))
        while True:
            start = time.perf_counter()
            grey = next(grey_batches, None)
            self.wait_seconds += time.perf_counter() - start
            if grey is None:
                break
            rows = planned.popleft().rows
            self._position += self._order.global_batch_size
            yield Batch(self._normalise(grey, rows), torch.from_numpy(rows))
        self.epoch += 1
        self._position = 0

    def state_dict(self) -> dict[str, int]:
        """What :meth:`load_state_dict` needs to go on behind the last batch that was handed out."""
        return {"seed": self._order.seed, "epoch": self.epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on behind the state's last batch, at the next iteration.

        Raises:
            InputError: the state is of another seed, so its permutation cannot be continued.
        """
        if state["seed"] != self._order.seed:
            raise InputError(f"seed {self._order.seed}: the saved order has seed {state['seed']}; give that seed")
        self.epoch, self._position = state["epoch"], state["position"]

    def close(self) -> None:
        """Ends the engine's threads."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _plan(self, planned: deque[Request]) -> Iterator[Request]:
        for positions in self._order.batches(self.epoch, self._position):
            rows, sizes = self._index.rows[positions], self._sizes[positions]
            address = {"epoch": self.epoch, "seed": self._order.seed}
            matrices = [affines(self._spec, rows, sizes, view=view, **address) for view in range(self._num_views)]
            request = Request(rows, sizes, np.stack(matrices))
            planned.append(request)
            yield request

    def _normalise(self, grey: torch.Tensor, rows: np.ndarray) -> tuple[torch.Tensor, ...]:
        address = {"epoch": self.epoch, "seed": self._order.seed}
        factors = np.stack([tones(self._spec, rows, view=view, **address) for view in range(self._num_views)])
        pinned = torch.from_numpy(factors).float()
        if grey.device.type == "cuda":
            pinned = pinned.pin_memory()
        gain, bias = pinned.to(grey.device, non_blocking=True)[..., None, None].unbind(2)
        return tuple(torch.addcmul(bias, grey.float(), gain).unsqueeze(2))


def build_loader(
    index: ShardIndex,
    spec: ViewSpec,
    *,
    batch_size: int,
    num_views: int = 2,
    engine: EngineName = "auto",
    device: str | torch.device = "cpu",
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    shuffle: bool = True,
    drop_last: bool = True,
    num_threads: int | None = None,
) -> Loader:
    """A loader of ``num_views`` views of each selected row.

    Args:
        batch_size: rows a batch on this rank.
        engine: ``dali``, ``kornia``, or ``auto``: DALI on a GPU, and on a CPU Kornia, whose OpenCV warp is faster
            there.
        num_threads: decoding threads; default: the cores available to this process, shared among the ranks, at most 8.

    Raises:
        InputError: no rows, too few rows for one batch, an unknown engine or an absent device.
    """
    index.require_rows("loader")
    device = torch.device(device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(f"device {device}: no CUDA device here; use cpu")
        device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    if batch_size < 1:
        raise InputError(f"batch size {batch_size}: must be at least 1")
    if drop_last and len(index) < batch_size * world_size:
        raise InputError(
            f"batch size {batch_size} on {world_size} rank(s): more than the {len(index)} images selected; lower it"
        )
    order = Order(
        len(index),
        seed=seed,
        batch_size=batch_size,
        rank=rank,
        world_size=world_size,
        shuffle=shuffle,
        drop_last=drop_last,
    )
    _warn_of_aliasing(index, spec)
    threads = num_threads or max(1, min(8, len(os.sched_getaffinity(0)) // world_size))
    chosen = ("dali" if device.type == "cuda" else "kornia") if engine == "auto" else engine
    made: Engine
    if chosen == "dali":
        from pipeline.dali import DaliEngine  # DALI takes a second to import

        made = DaliEngine(
            index,
            size=spec.size,
            fill=spec.fill,
            device=device,
            num_threads=threads,
            batch_size=batch_size,
            num_views=num_views,
        )
    elif chosen == "kornia":
        from pipeline.kornia_views import KorniaEngine

        made = KorniaEngine(index, size=spec.size, fill=spec.fill, device=device, num_threads=threads)
    else:
        raise InputError(f"engine {engine!r}: must be auto, dali or kornia")
    return Loader(index, spec, order, made, num_views=num_views)


def _warn_of_aliasing(index: ShardIndex, spec: ViewSpec) -> None:
    side = float(np.median(index.sizes().min(axis=1)))
    if spec.size < _ALIASING_SCALE * np.sqrt(spec.area[0]) * side:
        warnings.warn(
            f"images of {side:.0f} px are warped to {spec.size} px in one bilinear step, which skips pixels; "
            f"pack with --size {round(1.25 * spec.size)} for views of this size",
            stacklevel=3,
        )
