"""The one door to batches of views: ``build_loader``.

index = ShardIndex.open("data/chexpert").where(split="train")
with build_loader(index, PRESETS["moco_cxr"], batch_size=64) as loader:
    for batch in loader:
        query, key = batch.views  # (B, 1, S, S) float32, normalised
        labels = index.labels("Edema")[index.positions(batch.rows)]
"""

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
import torch

from pipeline.choice import Choice, choose_engine, pixel_budget
from pipeline.engine import Engine, Request, Rows
from pipeline.options import DamagePolicy, EngineName
from pipeline.order import Last, Order
from pipeline.ranks import num_local_ranks
from pipeline.resident import DeviceStore, PixelStore
from pipeline.samples import Samples
from pipeline.stream import ReadAhead
from pipeline.views import ViewSpec, affines, sigmas, tones
from shards.errors import InputError
from shards.index import ShardIndex

Shuffle = Literal["auto", "global", "shards", "none"]
_ALIASING_SCALE = 0.5  # below it, one bilinear warp skips pixels
_MOST_THREADS = 16  # more only wait for the interpreter


@dataclass(frozen=True)
class Batch:
    """``views``: one tensor a view, (B, 1, S, S) float32 on the device. ``rows``: (B,) int64 on the CPU."""

    views: tuple[torch.Tensor, ...]
    rows: torch.Tensor


class Loader:
    """Iterates what is left of the current epoch, then moves to the next one.

    ``wait_seconds`` sums the time that the consumer was kept waiting; ``choice`` says which engine it is and why.
    """

    def __init__(
        self, samples: Samples, spec: ViewSpec, order: Order, engine: Engine, *, num_views: int, choice: Choice
    ) -> None:
        self.engine, self.choice = engine, choice
        self.epoch = 0
        self.wait_seconds = 0.0
        self._samples, self._spec, self._order, self._num_views = samples, spec, order, num_views
        self._position = 0
        self._sizes = samples.index.sizes()  # taken once: a selection is not to be counted through for each batch

    @property
    def skipped(self) -> dict[int, str]:
        """Rows whose damaged images were skipped so far, each with what is wrong with it."""
        return dict(self._samples.skipped)

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return self._order.num_batches

    def __iter__(self) -> Iterator[Batch]:
        with closing(self._read_ahead()) as stream, closing(self.engine.run(self._plan())) as made:
            while True:
                start = time.perf_counter()
                views = next(made, None)
                self.wait_seconds += time.perf_counter() - start
                if views is None:
                    break
                self._position += self._order.global_batch_size
                stream.advance(len(views.rows))
                yield Batch(views.pixels.unbind(0), torch.from_numpy(views.rows))
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

    def _plan(self) -> Iterator[Request]:
        for picks in self._order.batches(self.epoch, self._position):
            yield plan_batch(
                self._spec,
                rows=self._samples.index.rows[picks.positions],
                sizes=self._sizes[picks.positions],
                passes=picks.passes,
                seed=self._order.seed,
                num_views=self._num_views,
            )

    def _read_ahead(self) -> ReadAhead:
        index = self._samples.index
        picks = self._order.batches(self.epoch, self._position) if index.is_remote else ()
        return ReadAhead(index, np.concatenate([index.rows[:0], *(index.rows[batch.positions] for batch in picks)]))


def plan_batch(spec: ViewSpec, *, rows: Rows, sizes: Rows, passes: Rows, seed: int, num_views: int) -> Request:
    """What an engine needs to know to make the views of rows (B,) with stored sizes (B, 2) on their passes (B,)."""
    addresses: list[dict[str, Any]] = [{"epoch": passes, "seed": seed, "view": view} for view in range(num_views)]
    return Request(
        rows=rows,
        sizes=sizes,
        matrices=np.stack([affines(spec, rows, sizes, **address) for address in addresses]),
        tones=np.stack([tones(spec, rows, **address) for address in addresses]),
        sigmas=np.stack([sigmas(spec, rows, **address) for address in addresses]),
    )


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
    shuffle: Shuffle = "auto",
    last: Last = "drop",
    weights: Sequence[float] | None = None,
    num_threads: int | None = None,
    on_damage: DamagePolicy = "error",
    checksums: bool = True,
    resident_bytes: int | None = None,
) -> Loader:
    """A loader of ``num_views`` views of each selected row.

    Args:
        batch_size: rows a batch on this rank.
        engine: ``resident`` decodes each image once and keeps its pixels; ``dali`` and ``kornia`` decode each time.
            ``auto``: resident if rows are shuffled, so that more than one epoch is to be expected, and their pixels
            fit; else DALI on a GPU, and on a CPU Kornia, whose compiled warp is faster there.
        shuffle: ``global``: all rows; ``shards``: shard by shard, a few at a time, for data that is not on a local
            disk; ``none``: the selection's order. ``auto``: global, but shards where a dataset is remote.
        last: what becomes of the rows that do not fill a batch on every rank: ``drop``, ``pad`` with rows of this epoch
            in other views, or a ``short`` batch.
        weights: one a dataset opened: its share of the rows of each epoch, instead of its share of the images.
        num_threads: decoding threads; default: the cores available to this process, shared among the ranks of this
            machine, at most 16.
        on_damage: what becomes of an image that is no longer as it was packed: ``error``, or ``skip`` with a count.
        checksums: compare each image read with its checksum in the index.
        resident_bytes: what decoded pixels may take; default: half of the memory that is free.

    Raises:
        InputError: no rows, too few rows for one batch, a wrong name, number or weight, an absent device, or an engine
            that does not fit.
    """
    device = _find_device(device)
    _check(index, batch_size=batch_size, world_size=world_size, num_threads=num_threads, last=last)
    if on_damage not in get_args(DamagePolicy):
        raise InputError(f"on_damage {on_damage!r}: must be {' or '.join(get_args(DamagePolicy))}")
    if shuffle == "auto":
        shuffle = "shards" if index.is_remote else "global"
    order = Order(
        len(index),
        seed=seed,
        batch_size=batch_size,
        rank=rank,
        world_size=world_size,
        shuffle=shuffle,
        last=last,
        shards=index.shard_numbers() if shuffle == "shards" else None,
        parts=None if weights is None else index.folder_numbers(),
        weights=weights,
    )
    _warn_of_aliasing(index, spec)
    budget = pixel_budget(device, asked=resident_bytes, world_size=world_size)
    choice = choose_engine(engine, index, device=device, repeats=shuffle != "none", budget=budget)
    samples = Samples(index, on_damage=on_damage, checksums=checksums)
    cores = len(os.sched_getaffinity(0)) // num_local_ranks(world_size)
    made = _build_engine(
        choice,
        samples,
        spec,
        device=device,
        num_threads=num_threads or max(1, min(_MOST_THREADS, cores)),
        batch_size=batch_size,
        num_views=num_views,
        is_sequential=shuffle == "none",
        rank=rank,
        world_size=world_size,
    )
    return Loader(samples, spec, order, made, num_views=num_views, choice=choice)


def _build_engine(
    choice: Choice,
    samples: Samples,
    spec: ViewSpec,
    *,
    device: torch.device,
    num_threads: int,
    batch_size: int,
    num_views: int,
    is_sequential: bool,
    rank: int,
    world_size: int,
) -> Engine:
    shape: dict[str, Any] = {
        "size": spec.size,
        "fill": spec.fill,
        "device": device,
        "num_threads": num_threads,
        "batch_size": batch_size,
        "num_views": num_views,
    }
    if choice.name == "dali":
        from pipeline.dali import DaliEngine  # DALI takes a second to import

        return DaliEngine(samples, has_blur=spec.blur > 0, sequential=is_sequential, **shape)
    from pipeline.kornia_views import Decoder, KorniaEngine

    if choice.name == "kornia":
        return KorniaEngine(Decoder(samples), **shape)
    if choice.keeps_on_device:
        on_device = DeviceStore(samples, device)
        spare = None if samples.index.is_remote else on_device.decode_one
        return KorniaEngine(Decoder(samples), name="resident", store=on_device, spare=spare, **shape)
    on_host = PixelStore(samples, rank=rank, world_size=world_size)
    spare = None if samples.index.is_remote else on_host.fill_one  # remote rows come when their shard does
    return KorniaEngine(on_host, name="resident", spare=spare, **shape)


def _find_device(device: str | torch.device) -> torch.device:
    device = torch.device(device)
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise InputError(f"device {device}: no CUDA device here; use cpu")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def _check(index: ShardIndex, *, batch_size: int, world_size: int, num_threads: int | None, last: Last) -> None:
    index.require_rows("loader")
    if batch_size < 1:
        raise InputError(f"batch size {batch_size}: must be at least 1")
    if num_threads is not None and num_threads < 1:
        raise InputError(f"num_threads {num_threads}: must be at least 1")
    if last == "drop" and len(index) < batch_size * world_size:
        raise InputError(
            f"batch size {batch_size} on {world_size} rank(s): more than the {len(index)} images selected; lower it"
        )


def _warn_of_aliasing(index: ShardIndex, spec: ViewSpec) -> None:
    side = float(np.median(index.sizes().min(axis=1)))
    if spec.size < _ALIASING_SCALE * np.sqrt(spec.area[0]) * side:
        warnings.warn(
            f"images of {side:.0f} px are warped to {spec.size} px in one bilinear step, which skips pixels; "
            f"pack with --size {round(1.25 * spec.size)} for views of this size",
            stacklevel=3,
        )
