"""Which sample when: each epoch's sequence, and each rank's share of it, as functions of (seed, epoch, position).

``n`` samples in all, ``m`` of one dataset, ``B`` a batch. An epoch of 223,414 samples starts within 50 ms on one core,
also as a mixture of datasets.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field

from shards.base.bounds import Count, Seed
from shards.base.dataclass_io import from_mapping
from shards.base.errors import InputError
from shards.base.randomness import generator

Integers = npt.NDArray[np.int64]
Shuffle = Literal["global", "shards", "none"]
Last = Literal["drop", "pad", "short"]

_PADDED = 1 << 31  # passes from here on are those of padding; all stay below 2**32, a word of the views' address
_REPEAT_BITS = 24  # a padded pass counts repeats above these bits: no two are the same to 2**24 passes and 127 repeats


@dataclass(frozen=True)
class Picks:
    """Samples in order: their ``positions`` (B,) in the selection, and the ``passes`` (B,) they are on.

    A position never comes twice on the same pass, so (seed, pass, row, view) addresses each view.
    """

    positions: Integers
    passes: Integers


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Where in its epochs an order is: ``position`` counts the samples that have been handed out, over all ranks."""

    seed: Seed
    epoch: Count
    position: Annotated[int, Field(ge=0)]


class Order:
    """The order of ``n`` samples over epochs, ranks and batches.

    A global batch is ``world_size * batch_size`` consecutive samples of the epoch's sequence, of which each rank takes
    its slice. Position counts samples over all ranks, so a state saved under one number of ranks or batch size can be
    continued under another: what is left of the epoch is the same set.

    With ``weights``, an epoch is still ``n`` samples, and each dataset gives the same number of them each epoch: its
    share of the weights, rounded by largest remainders, and at least one. They come from the dataset's endless sequence
    of passes, each a shuffle of all its samples, and go on where the epoch before stopped: at the end of any epoch, the
    samples of a dataset have come up equally often, or once more. Datasets are interleaved evenly, so that each batch
    holds each dataset's share of it, give or take a few samples.

    Args:
        n: number of samples.
        batch_size: samples a batch on each rank.
        shuffle: ``global``: all samples; ``shards``: the shards, and then the samples of each ``window`` of shards,
            for data that is read shard by shard; ``none``: ascending.
        last: what becomes of the samples that do not fill a global batch. ``drop``: left out. ``pad``: filled up with
            the epoch's first samples, on passes of their own (2**31 and up), as often over as it takes, so that all
            ranks have the same number of full batches. ``short``: shared, each once; ranks may get shorter or no
            batches at the end.
        shards: (n,) the number of each sample's shard; needed to shuffle by shards.
        window: shards that are mixed with each other, at most: the files that a reader keeps open, of each dataset in
            a mixture.
        parts: (n,) the number of each sample's dataset; needed for ``weights``.
        weights: one a dataset, above 0, of any scale.

    Raises:
        InputError: unknown ``shuffle`` or ``last``, a negative seed, weights that do not fit the datasets.
    """

    def __init__(
        self,
        n: int,
        *,
        seed: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: Shuffle = "global",
        last: Last = "drop",
        shards: Integers | None = None,
        window: int = 8,
        parts: Integers | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        assert 0 <= rank < world_size
        assert batch_size > 0
        assert window > 0
        for field, value, choices in (("shuffle", shuffle, Shuffle), ("last", last, Last)):
            if value not in get_args(choices):
                raise InputError(f"{field} {value!r}: must be one of {', '.join(get_args(choices))}")
        if seed < 0:
            raise InputError(f"seed {seed}: must be 0 or more")
        self.n, self.seed, self.batch_size = n, seed, batch_size
        self.rank, self.world_size = rank, world_size
        self.shuffle, self.last = shuffle, last
        if shuffle == "shards":
            assert shards is not None
            assert len(shards) == n
        else:
            shards = None
        everything = np.arange(n, dtype=np.int64)
        if weights is None:
            self._pools = [_Pool(everything, shards, window)]
            self._counts = None
        else:
            assert parts is not None
            assert len(parts) == n
            if shuffle == "none":
                raise InputError(
                    f"weights {list(weights)}: mix datasets at random, which shuffle none forbids; leave the weights "
                    "out, or give shuffle global or shards"
                )
            _check_weights(weights, parts)
            members = [np.flatnonzero(parts == number) for number in range(len(weights))]
            self._pools = [_Pool(own, None if shards is None else shards[own], window) for own in members]
            self._counts = _apportion(n, weights)

    @property
    def global_batch_size(self) -> int:
        return self.batch_size * self.world_size

    @property
    def length(self) -> int:
        """Samples of a whole epoch over all ranks."""
        return self._length_from(0)

    @property
    def end(self) -> int:
        """The position behind the last batch of an epoch, rows that are dropped counted too."""
        return -(-self.n // self.global_batch_size) * self.global_batch_size

    @property
    def num_batches(self) -> int:
        """Batches of a whole epoch on this rank."""
        return len(self._starts(self.length))

    def sequence(self, epoch: int, position: int = 0) -> Picks:
        """What is left of ``epoch`` after ``position`` samples, over all ranks, with ``last`` applied."""
        positions, passes = self._epoch(epoch)
        left = np.arange(position, position + self._length_from(position))
        repeats, places = np.divmod(left, max(1, self.n))
        passes = passes[places]
        padded = _PADDED + (passes + (repeats << _REPEAT_BITS)) % _PADDED
        return Picks(positions[places], np.where(repeats > 0, padded, passes))

    def batches(self, epoch: int, position: int = 0) -> Iterator[Picks]:
        """This rank's batches of what is left of ``epoch`` after ``position`` samples (over all ranks)."""
        sequence = self.sequence(epoch, position)
        for start in self._starts(len(sequence.positions)):
            share = slice(start, start + self.batch_size)
            yield Picks(sequence.positions[share], sequence.passes[share])

    def _length_from(self, position: int) -> int:
        left = max(0, self.n - position)
        if self.last == "short":
            return left
        num_batches = left // self.global_batch_size if self.last == "drop" else -(-left // self.global_batch_size)
        return num_batches * self.global_batch_size

    def _starts(self, length: int) -> range:
        return range(self.rank * self.batch_size, length, self.global_batch_size)

    def _epoch(self, epoch: int) -> tuple[Integers, Integers]:
        """Positions and passes of the epoch's ``n`` samples."""
        if self._counts is not None:
            return self._mixture(epoch, self._counts)
        passes = np.full(self.n, epoch, dtype=np.int64)
        if self.shuffle == "none":
            return self._pools[0].positions, passes
        purpose = "order" if self.shuffle == "global" else "order by shards"
        return self._pools[0].shuffled(generator(purpose, self.seed, epoch)), passes

    def _mixture(self, epoch: int, counts: Integers) -> tuple[Integers, Integers]:
        jitter = generator("interleaving", self.seed, epoch)
        positions, passes, keys = [], [], []
        for number, (pool, count) in enumerate(zip(self._pools, counts.tolist(), strict=True)):
            drawn = np.arange(epoch * count, (epoch + 1) * count)  # of the dataset's endless sequence
            passes_drawn = drawn // len(pool.positions)
            touched = range(int(passes_drawn[0]), int(passes_drawn[-1]) + 1)
            shuffled = [pool.shuffled(generator("mixture", self.seed, number, touch)) for touch in touched]
            positions.append(np.concatenate(shuffled)[drawn - touched[0] * len(pool.positions)])
            passes.append(passes_drawn)
            keys.append((np.arange(count) + jitter.random(count)) / count)
        interleaved = np.argsort(np.concatenate(keys), kind="stable")
        return np.concatenate(positions)[interleaved], np.concatenate(passes)[interleaved]


def read_mark(state: object, order: Order) -> Mark:
    """The mark in a state that was saved of this order, or of one with other batches or ranks.

    Raises:
        InputError: it is no such state, of another seed, or beyond the end of an epoch.
    """
    if not isinstance(state, Mapping):
        raise InputError(f"state {state!r}: give what state_dict() returned")
    known = {field.name: state[field.name] for field in fields(Mark) if field.name in state}
    mark = from_mapping(Mark, known, "state")
    if mark.seed != order.seed:
        raise InputError(f"seed {order.seed}: the saved order has seed {mark.seed}; give that seed")
    if mark.position > order.end:
        raise InputError(
            f"state.position {mark.position}: beyond the {order.n} rows of an epoch; give a state of the same selection"
        )
    return mark


class _Pool:
    """Samples that are shuffled among themselves: ``positions`` (m,), and the number of each one's shard, if these are
    kept together."""

    def __init__(self, positions: Integers, shards: Integers | None, window: int) -> None:
        self.positions = positions
        self._shards: Integers | None = None
        if shards is not None:
            known, self._shards = np.unique(shards, return_inverse=True)
            self._num_shards = len(known)
            self._num_windows = -(-len(known) // window)

    def shuffled(self, random: np.random.Generator) -> Integers:
        """All positions once, (m,)."""
        mixed = random.permutation(len(self.positions))
        if self._shards is not None:
            # Windows of equal size, give or take one shard: a last window of what is left over might hold just one.
            window_of_shard = random.permutation(self._num_shards) * self._num_windows // self._num_shards
            windows = window_of_shard[self._shards[mixed]]
            sortable = windows.astype(np.min_scalar_type(self._num_windows))  # up to 16 bits are sorted by radix
            mixed = mixed[np.argsort(sortable, kind="stable")]
        return self.positions[mixed]


def _check_weights(weights: Sequence[float], parts: Integers) -> None:
    num_datasets = int(parts.max(initial=-1)) + 1
    if len(weights) < num_datasets:
        raise InputError(
            f"weights {list(weights)}: {len(weights)} for {num_datasets} datasets; give one for each, in the order in "
            "which they were opened"
        )
    for number, (weight, size) in enumerate(zip(weights, np.bincount(parts, minlength=len(weights)), strict=True)):
        if not 0 < weight < np.inf:
            raise InputError(
                f"weights {list(weights)}: that of dataset {number} is {weight}; give a number above 0, or leave the "
                "dataset out of the selection"
            )
        if not size:
            raise InputError(
                f"weights {list(weights)}: no image is selected of dataset {number}; give one weight for each dataset, "
                "and open only datasets of which images are selected"
            )


def _apportion(n: int, weights: Sequence[float]) -> Integers:
    """How many of ``n`` samples each dataset gives an epoch: largest remainders, at least one."""
    shares = np.asarray(weights, dtype=np.float64) / max(weights)
    quotas = n * (shares / shares.sum())
    counts = np.floor(quotas).astype(np.int64)
    counts[np.argsort(counts - quotas, kind="stable")[: n - counts.sum()]] += 1
    while not counts.all():
        counts[counts.argmin()] += 1
        counts[counts.argmax()] -= 1
    return counts
