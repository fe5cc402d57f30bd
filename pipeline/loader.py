"""The one door to batches of views.

    index = ShardIndex.open("data/chexpert").where(split="train")
    with build_loader(index, "moco_cxr", batch_size=64) as loader:
        for batch in loader:
            query, key = batch.views  # (B, 1, S, S) float32, normalised
            labels = index.labels("Edema")[index.positions(batch.rows)]

``build_loader`` chooses the engine, and says why (:mod:`pipeline.engines.choice`).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import tee
from types import TracebackType
from typing import Annotated, Literal, Self

import numpy as np
import torch
from pydantic import Field

from pipeline.device import find_device
from pipeline.engines.choice import Choice, build_engine, choose_engine, pixel_budget
from pipeline.engines.contract import Engine, Request, Rows, Views
from pipeline.engines.samples import Samples
from pipeline.options import DamagePolicy, EngineName, Positives
from pipeline.order import Last, Mark, Order, Picks, read_mark
from pipeline.pairs import Partners, mend
from pipeline.plan import plan_batch, warn_of_sizes
from pipeline.ranks import num_own_cores
from pipeline.read_ahead import ReadAhead
from pipeline.views import ViewSpec, preset
from shards.base.bounds import Count, PositiveCount, Seed, Threads
from shards.base.errors import InputError
from shards.base.values.arguments import InWords, checked_arguments
from shards.index import ShardIndex

Shuffle = Literal["auto", "global", "shards", "none"]
_MOST_THREADS = 16  # more only wait for the interpreter
_Index = Annotated[ShardIndex, InWords("what moco_cxr.open_index('data/chexpert') returns, or a selection of it")]
_Spec = Annotated[ViewSpec | str, InWords("the name of a preset, such as 'moco_cxr', or what moco_cxr.views returns")]
_Device = Annotated[str | torch.device, InWords("'auto', 'cpu', 'cuda' or 'cuda:1'")]


@dataclass(frozen=True)
class Batch:
    """``views``: one tensor a view, (B, 1, S, S) float32 on the device, small crops last. ``rows``: (B,) int64 on the
    CPU.

    Where positives are not ``image``, ``rows`` are those of the first views, and ``partners``, (B,), of the second.
    """

    views: tuple[torch.Tensor, ...]
    rows: torch.Tensor
    partners: torch.Tensor | None = None

    def __repr__(self) -> str:
        first = self.views[0]
        return f"<Batch: {len(self.views)} views {tuple(first.shape)} {first.dtype} on {first.device}>"


class Loader:
    """Iterates what is left of the current epoch, then moves to the next one.

    ``wait_seconds`` sums the time that the consumer was kept waiting; ``choice`` says which engine it is and why,
    ``partners``, if rows are paired with others, how many are.
    """

    def __init__(
        self,
        samples: Samples,
        spec: ViewSpec,
        order: Order,
        engine: Engine,
        *,
        num_views: int,
        choice: Choice,
        partners: Partners | None = None,
    ) -> None:
        self.engine, self.choice, self.partners = engine, choice, partners
        self.epoch = 0
        self.wait_seconds = 0.0
        self._samples, self._spec, self._order, self._num_views = samples, spec, order, num_views
        self._position = 0
        self._is_closed = False
        self._sizes = samples.index.sizes()  # taken once: a selection is not to be counted through for each batch

    @property
    def skipped(self) -> dict[int, str]:
        """Rows whose damaged images were skipped so far, each with what is wrong with it."""
        return dict(self._samples.skipped)

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return self._order.num_batches

    def __repr__(self) -> str:
        rows = f"{len(self)} batches of {self._order.batch_size} rows"
        return f"<Loader: {rows}, {self._num_views} views of {self._spec.size} px by {self.choice.name}>"

    def __iter__(self) -> Iterator[Batch]:
        self._require_open()
        requests, planned = tee(self._plan())
        with closing(self._read_ahead()) as stream, closing(self.engine.run(requests)) as made:
            while True:
                self._require_open()
                start = time.perf_counter()
                views = next(made, None)
                self.wait_seconds += time.perf_counter() - start
                if views is None:
                    break
                batch = self._batch(views, next(planned))
                self._position += self._order.global_batch_size
                stream.advance(len(views.rows))
                yield batch
        self.epoch += 1
        self._position = 0

    def state_dict(self) -> dict[str, int]:
        """What :meth:`load_state_dict` needs to go on behind the last batch that was handed out."""
        return asdict(Mark(seed=self._order.seed, epoch=self.epoch, position=min(self._position, self._order.n)))

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on behind the state's last batch, at the next iteration, also with other batches and ranks than it had.

        Raises:
            InputError: the state is of another seed, so its permutation cannot be continued; it is none that
                :meth:`state_dict` gives, or lies beyond the end of the epoch.
        """
        mark = read_mark(state, self._order)
        self.epoch, self._position = mark.epoch, mark.position

    def close(self) -> None:
        """Ends the engine's threads; from then on it gives no batches."""
        self._is_closed = True
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._is_closed:
            raise InputError("loader: is closed; build another")

    def _plan(self) -> Iterator[Request]:
        for picks in self._order.batches(self.epoch, self._position):
            rows, seed = self._samples.index.rows[picks.positions], self._order.seed
            if self.partners is not None:
                yield self.partners.plan(self._spec, rows=rows, passes=picks.passes, seed=seed)
                continue
            sizes = self._sizes[picks.positions]
            yield plan_batch(
                self._spec, rows=rows, sizes=sizes, passes=picks.passes, seed=seed, num_views=self._num_views
            )

    def _batch(self, views: Views, request: Request) -> Batch:
        if self.partners is None:
            small = () if views.small is None else views.small.unbind(0)
            return Batch((*views.pixels.unbind(0), *small), torch.from_numpy(views.rows))
        pixels, rows = mend(views, request, self._samples)
        first, second = torch.from_numpy(rows)
        return Batch(pixels.unbind(0), first, second)

    def _read_ahead(self) -> ReadAhead:
        index = self._samples.index
        picks = self._order.batches(self.epoch, self._position) if index.is_remote else ()
        try:
            return ReadAhead(index, np.concatenate([index.rows[:0], *map(self._rows_read, picks)]))
        except InputError as error:
            if self.partners is None:
                raise
            what = f"positives {self.partners.by}: partners lie in any shard, so the cache must hold nearly all of them"
            raise InputError(f"{what}, or use positives image; {error}") from None

    def _rows_read(self, picks: Picks) -> Rows:
        rows = self._samples.index.rows[picks.positions]
        if self.partners is None:
            return rows
        return np.concatenate([rows, self.partners.draw(rows, passes=picks.passes, seed=self._order.seed)])


@checked_arguments
def build_loader(
    index: _Index,
    spec: _Spec,
    *,
    batch_size: PositiveCount,
    num_views: PositiveCount = 2,
    engine: EngineName = "auto",
    device: _Device = "cpu",
    seed: Seed = 0,
    rank: Count = 0,
    world_size: PositiveCount = 1,
    shuffle: Shuffle = "auto",
    last: Last = "drop",
    weights: Sequence[float] | None = None,
    num_threads: Threads | None = None,
    on_damage: DamagePolicy = "error",
    checksums: bool = True,
    resident_bytes: Annotated[int, Field(ge=0)] | None = None,
    positives: Positives = "image",
) -> Loader:
    """A loader of ``num_views`` views of each selected row.

    Args:
        spec: the views, or the name of a preset. Its small crops come behind two views or more; one view has none.
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
        positives: ``image``: views of one row. ``study``, ``patient``: the second view is of another selected image of
            the row's study or patient, drawn anew each pass, where there is one; frontal or lateral, as selected.
            Where nothing is resident, a pair takes two decodings: 1.5 times the processor time with kornia, 1.3 with
            dali (CPU). Partners lie in any shard, so the cache of a remote dataset must hold nearly all of them.

    Raises:
        InputError: no rows, too few rows for one batch, a wrong type, name, number or weight, an absent device, an
            engine that does not fit, positives of which there are none, or a shard that is missing, empty or, unless
            damage is skipped, cut off.
    """
    device = find_device(device)
    spec = preset(spec) if isinstance(spec, str) else spec
    if num_views == 1:
        spec = replace(spec, small_crops=0)
    _check(index, batch_size=batch_size, rank=rank, world_size=world_size, last=last)
    if positives != "image" and num_views != 2:
        raise InputError(f"num_views {num_views}: positives {positives} makes pairs; give 2, or positives image")
    if positives != "image" and spec.small_crops:
        raise InputError(
            f"views.small_crops {spec.small_crops}: positives {positives} makes pairs; give 0, or positives image"
        )
    index.datasets.require_shards(index.rows, whole=on_damage == "error")
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
    partners = None if positives == "image" else Partners(index, positives)
    warn_of_sizes(index.sizes(), spec, above=4)
    budget = pixel_budget(device, asked=resident_bytes, world_size=world_size)
    choice = choose_engine(engine, index, device=device, repeats=shuffle != "none", budget=budget)
    samples = Samples(index, on_damage=on_damage, checksums=checksums)
    made = build_engine(
        choice,
        samples,
        spec,
        device=device,
        num_threads=num_threads or min(_MOST_THREADS, num_own_cores(world_size)),
        batch_size=batch_size if partners is None else 2 * batch_size,
        num_views=num_views if partners is None else 1,
        is_sequential=shuffle == "none" and partners is None,
        rank=rank,
        world_size=world_size,
    )
    return Loader(samples, spec, order, made, num_views=num_views, choice=choice, partners=partners)


def _check(index: ShardIndex, *, batch_size: int, rank: int, world_size: int, last: Last) -> None:
    index.require_rows("loader")
    if rank >= world_size:
        raise InputError(f"rank {rank}: out of range; give 0 to {world_size - 1}, or another world_size")
    if last == "drop" and len(index) < batch_size * world_size:
        raise InputError(
            f"batch size {batch_size} on {world_size} rank(s): more than the {len(index)} images selected; lower it"
        )
