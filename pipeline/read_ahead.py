"""Shards from elsewhere, fetched in the order of their use while the ones before are consumed.

An engine reads rows as from a local disk; a read-ahead has their shards in the cache by then, keeps those that are
still needed this epoch from being evicted, and lets go of the others. Over local datasets it does nothing.

``K`` remote shards that the rows lie in, in the order of their first use.
"""

import threading
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from shards.base.bar import Bar
from shards.base.errors import InputError
from shards.base.words import as_size
from shards.datasets import Datasets
from shards.index import ShardIndex
from shards.open_shards import OpenShard, allow_open_files
from shards.remote.folder import fetching_bar
from shards.remote.transfer import Stopped

Rows = npt.NDArray[np.int64]


class ReadAhead:
    """Fetches the shards of ``rows`` (N,), the rest of an epoch in this rank's order, from a few threads.

    Args:
        shards_ahead: shards in flight at most, and the least number that is fetched ahead of use. Where an order mixes
            a window of shards, all of the next window is fetched ahead, as far as the cache's limit allows.

    Raises:
        InputError: the shards that the order needs at once do not fit the cache.
    """

    def __init__(self, index: ShardIndex, rows: Rows, *, shards_ahead: int = 4) -> None:
        assert shards_ahead > 0
        self._datasets, self._shards = index.datasets, index.datasets.shards
        self._plan = _Plan(self._datasets, rows) if index.is_remote else None
        self._threads: list[threading.Thread] = []
        if self._plan is None or not len(self._plan.numbers):
            return
        _require_room(self._datasets, self._plan)
        self._depth = max(shards_ahead, self._plan.width)
        self._num_begun, self._num_started, self._position = 0, 0, 0
        self._held: dict[int, OpenShard | None] = {}
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._bar: Bar | None = self._start_bar()
        self._count_begun()
        for number in range(min(shards_ahead, len(self._plan.numbers))):
            thread = threading.Thread(target=self._fetch, name=f"read-ahead-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def advance(self, num_rows: int) -> None:
        """Says that the next so many rows were handed out: shards with no row left are let go of."""
        if not self._threads:
            return
        with self._changed:
            self._position += num_rows
            self._count_begun()
            self._release()
            self._close_bar()
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the threads, in mid-transfer too, and lets go of all shards."""
        if not self._threads:
            return
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []
        for held in self._held.values():
            if held is not None:
                held.let_go()
        self._held = {}
        self._close_bar()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fetch(self) -> None:
        while (shard := self._next()) is not None:
            number = int(self._plan_of_remote.numbers[shard])
            try:
                held = self._shards.hold(number, stop=self._stop, on_bytes=self._show)
            except Stopped:
                return
            except InputError:  # raised by the read that needs the shard
                continue
            with self._changed:
                if shard in self._held:
                    self._held[shard] = held
                else:  # its last row was handed out meanwhile
                    held.let_go()
                    self._shards.drop(number)

    def _next(self) -> int | None:
        """The next shard to fetch, once it is near enough and fits; None at the end."""
        plan = self._plan_of_remote
        with self._changed:
            while not self._stop.is_set() and self._num_started < len(plan.numbers):
                shard = self._num_started
                if plan.last[shard] < self._position:
                    self._num_started += 1
                    continue
                held = sum(int(plan.sizes[other]) for other in self._held)
                fits = not self._held or held + plan.sizes[shard] <= plan.capacity
                if shard < self._num_begun + self._depth and fits:
                    self._num_started += 1
                    self._held[shard] = None
                    return shard
                self._changed.wait()
        return None

    def _count_begun(self) -> None:
        self._num_begun = int(np.searchsorted(self._plan_of_remote.first, self._position, side="right"))

    def _release(self) -> None:
        plan = self._plan_of_remote
        for shard in [shard for shard in self._held if plan.last[shard] < self._position]:
            held = self._held.pop(shard)
            if held is not None:
                held.let_go()
                self._shards.drop(int(plan.numbers[shard]))

    @property
    def _plan_of_remote(self) -> "_Plan":
        assert self._plan is not None
        return self._plan

    def _start_bar(self) -> Bar | None:
        """A bar for the shards that the first rows wait for."""
        plan = self._plan_of_remote
        first = plan.numbers[: 1 + self._depth]
        absent = [i for i, number in enumerate(first.tolist()) if not self._datasets.tars[number].is_file()]
        return fetching_bar(int(plan.sizes[absent].sum()), f"fetching {len(absent)} shards") if absent else None

    def _show(self, num_bytes: int) -> None:
        with self._changed:
            if self._bar is not None:
                self._bar.update(num_bytes)
                if self._bar.n >= (self._bar.total or 0):
                    self._close_bar()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Plan:
    """The remote shards of rows, in order of first use: ``numbers``, ``sizes`` in bytes, positions in the rows of the
    ``first`` and the ``last`` row, each (K,); the most in use at once, by number (``width``) and ``peak`` bytes.
    """

    def __init__(self, datasets: Datasets, rows: Rows) -> None:
        numbers = datasets.tar_number[rows]
        used, first = np.unique(numbers, return_index=True)
        last = len(numbers) - 1 - np.unique(numbers[::-1], return_index=True)[1]
        remotes = [datasets.shards.remotes[number] for number in used.tolist()]
        chosen = np.array([i for i in np.argsort(first).tolist() if remotes[i] is not None], dtype=np.int64)
        self.numbers, self.first, self.last = used[chosen], first[chosen], last[chosen]
        found = [remotes[i] for i in chosen.tolist()]
        self.sizes = np.array(
            [
                remote.size(datasets.tars[number].name)
                for number, remote in zip(self.numbers.tolist(), found, strict=True)
                if remote is not None
            ],
            dtype=np.int64,
        )
        ended = np.searchsorted(np.sort(self.last), self.first)  # shards whose last row came before
        self.width = int((np.arange(1, len(chosen) + 1) - ended).max(initial=0))
        gone = np.concatenate([[0], np.cumsum(self.sizes[np.argsort(self.last)])])[ended]
        self.peak = int((np.cumsum(self.sizes) - gone).max(initial=0))
        self.capacity = datasets.cache.capacity()


def _require_room(datasets: Datasets, plan: _Plan) -> None:
    if plan.peak > plan.capacity:
        held, needed = (as_size(number, least="kB") for number in (plan.capacity, plan.peak))
        raise InputError(
            f"cache {datasets.cache.folder}: holds {held}, but this order needs {needed} of remote shards at once "
            f"({plan.width} of {len(plan.numbers)}); shuffle by shards, in a smaller window, allow the cache more "
            "(MOCO_CXR_CACHE_BYTES) or name a larger disk (MOCO_CXR_CACHE)"
        )
    most = allow_open_files(plan.width)
    if plan.width > most:
        raise InputError(
            f"shuffle: this order needs {plan.width} remote shards open at once, but this process may open {most} of "
            f"them; shuffle by shards, in a smaller window, or allow more files before it starts: ulimit -n "
            f"{2 * plan.width}"
        )
