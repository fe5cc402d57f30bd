"""What a DALI pipeline is fed with: encoded images by row, or by DALI's own WebDataset reader in shard order."""

import itertools
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from nvidia.dali.pipeline import Pipeline

from pipeline.engines.contract import Request, Rows
from pipeline.engines.dali.graph import BATCHES_AHEAD, Array, Arrays, Graph
from pipeline.engines.samples import DamagedSample, Samples
from shards.open_shards import allow_open_files


@dataclass
class Batch:
    """A batch on its way: what was requested, what of it is known to be damaged (position to error), and what is
    ``shown``, where images that are skipped have given their places to others."""

    request: Request
    damage: dict[int, DamagedSample] = field(default_factory=dict)
    shown: Request = field(init=False)

    def __post_init__(self) -> None:
        self.shown = self.request

    def show(self, taken: Rows) -> None:
        """Shows the images at positions ``taken``, (B,), of the request, with their views."""
        request = self.request
        self.shown = replace(
            request,
            rows=request.rows[taken],
            sizes=request.sizes[taken],
            matrices=request.matrices[:, taken],
            tones=request.tones[:, taken],
            sigmas=request.sigmas[:, taken],
        )


class Source(Iterator[Batch]):
    """Requests as batches. Batches can be given back, and come again first."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._requests = iter(requests)
        self._back: deque[Batch] = deque()

    def __next__(self) -> Batch:
        return self._back.popleft() if self._back else Batch(next(self._requests))

    def give_back(self, batches: Iterable[Batch]) -> None:
        self._back.extendleft(reversed(list(batches)))

    def peek(self, num_batches: int) -> list[Batch]:
        """The next batches, which stay where they are; fewer at the end."""
        batches = list(itertools.islice(self, num_batches))
        self.give_back(batches)
        return batches


class Feed:
    """The input of one pipeline: what is left of the source, or as much of it as DALI's reader can take.

    Args:
        positions: of the index's rows that the reader reads, (N,), in order; without, images are read by row. The feed
            ends where the source asks for other rows, or behind a short batch.
    """

    def __init__(self, samples: Samples, source: Source, graph: Graph, *, positions: Rows | None = None) -> None:
        self.in_flight: deque[Batch] = deque()
        """What was prepared and is not put out by the pipeline."""
        self._samples, self._source, self._graph, self._positions = samples, source, graph, positions
        self._rows = None if positions is None else samples.index.rows[positions]
        self._num_read = 0  # of these
        self._prepared: deque[list[Arrays]] = deque()
        self._end: Exception | None = None

    @property
    def is_by_reader(self) -> bool:
        """Whether DALI's own reader reads the images."""
        return self._rows is not None

    def build(self) -> Pipeline:
        """The pipeline that takes this input."""
        if self._positions is None:
            return self._graph.build(self._next)
        with tempfile.TemporaryDirectory() as folder:  # read while the pipeline is built
            shards = self._samples.index.take(self._positions).write_dali_index(folder)
            return self._graph.build(self._next, shards=shards)

    def give_back(self, reason: str) -> None:
        """Gives what is in flight back to the source, because the pipeline has failed. By row, the damaged images are
        found first.

        Raises:
            RuntimeError: none is damaged, as far as the decoders that do not belong to DALI can tell.
        """
        if self._rows is None and not sum(self._find_damage(batch) for batch in self.in_flight):
            rows = ", ".join(str(row) for batch in self.in_flight for row in batch.shown.rows)
            raise RuntimeError(f"DALI failed on one of the rows {rows}, which other decoders can read: {reason}")
        self._source.give_back(self.in_flight)
        self.in_flight.clear()

    def prepare(self) -> bool:
        """Reads as much as the pipeline will ask for when it runs next; whether there is something in flight for it.

        DALI could ask for it by itself. But an error on its way through DALI loses its type, and the batches in flight,
        and keeps DALI's threads alive for as long as it is held.

        Raises:
            DamagedSample: and whatever else reading raised, when the batches before it have been put out.
        """
        while self._end is None and len(self.in_flight) < BATCHES_AHEAD:
            try:
                batch = next(self._source)
                arrays = self._by_row(batch) if self._rows is None else self._by_reader(batch)
            except Exception as error:
                self._end = error
            else:
                self.in_flight.append(batch)
                self._prepared.append(arrays)
        if not self.in_flight and self._end is not None and not isinstance(self._end, StopIteration):
            raise self._end
        return bool(self.in_flight)

    def _next(self) -> list[Arrays]:
        if not self._prepared:
            raise StopIteration
        return self._prepared.popleft()

    def _by_row(self, batch: Batch) -> list[Arrays]:
        encoded: dict[int, Array] = {}
        for position, row in enumerate(batch.request.rows.tolist()):
            if position not in batch.damage:
                try:
                    encoded[position] = np.frombuffer(self._samples.read(row), dtype=np.uint8)
                except DamagedSample as error:
                    batch.damage[position] = error
        taken = self._samples.skip(batch.damage, batch.request.rows)
        if batch.damage:
            batch.show(taken)
        return [
            [encoded[position] for position in taken.tolist()],
            *self._graph.inputs(batch.shown.matrices, batch.shown.sigmas),
        ]

    def _by_reader(self, batch: Batch) -> list[Arrays]:
        assert self._rows is not None
        rows, batch_size = batch.request.rows, self._graph.batch_size
        expected = self._rows[self._num_read : self._num_read + len(rows)]
        if self._num_read % batch_size or not np.array_equal(rows, expected):
            self._source.give_back([batch])
            raise StopIteration
        self._num_read += len(rows)
        # The reader always fills its batches: it goes on at the start.
        filled = np.minimum(np.arange(batch_size), len(rows) - 1)
        return self._graph.inputs(batch.request.matrices[:, filled], batch.request.sigmas[:, filled])

    def _find_damage(self, batch: Batch) -> int:
        """Decodes the images of a batch; returns how many are damaged that were not known to be."""
        num_known = len(batch.damage)
        for position, row in enumerate(batch.request.rows.tolist()):
            if position not in batch.damage:
                try:
                    self._samples.decode(row)
                except DamagedSample as error:
                    batch.damage[position] = error
        return len(batch.damage) - num_known


def reader_positions(samples: Samples, source: Source, batch_size: int) -> Rows | None:
    """Positions, (N,), in the index of the rows that the source will presumably ask for, going on from its first two
    batches with what other ranks take in between; None if DALI's reader is not the way to read them: it compares no
    checksums, goes through the shards in order, each once, wants them on a disk, and opens all of them."""
    index = samples.index
    if samples.checksums or index.is_remote:
        return None
    num_shards = len(np.unique(index.shard_numbers()))
    if num_shards > allow_open_files(num_shards):
        return None
    starts = [np.flatnonzero(index.rows == batch.request.rows[0]) for batch in source.peek(2)]
    if not starts or not all(map(len, starts)):
        return None
    first = int(starts[0][0])
    stride = int(starts[1][0]) - first if len(starts) == 2 else max(len(index), batch_size)
    if stride < batch_size:
        return None
    positions = (np.arange(first, len(index), stride)[:, None] + np.arange(batch_size)).ravel()
    positions = positions[positions < len(index)]
    chosen = index.take(positions)
    is_ascending = np.all(np.diff(chosen.rows) > 0) and np.all(np.diff(chosen.shard_numbers()) >= 0)
    return positions if is_ascending else None
