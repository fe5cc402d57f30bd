"""Which sample when: the epoch's permutation, and each rank's share of it, as functions of (seed, epoch, position)."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from shards.randomness import generator

Positions = npt.NDArray[np.int64]


class Order:
    """The order of ``n`` samples over epochs, ranks and batches.

    A global batch is ``world_size * batch_size`` consecutive samples of the epoch's permutation, of which each rank
    takes its slice. Position counts samples over all ranks, so a state saved under one number of ranks can be
    continued under another: what is left of the epoch is the same set.

    Args:
        n: number of samples.
        batch_size: samples a batch on each rank.
        drop_last: leave out what does not fill a global batch; otherwise the ranks share it, each sample once, and
            ranks may get shorter or no batches at the end.
    """

    def __init__(
        self,
        n: int,
        *,
        seed: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        drop_last: bool = True,
    ) -> None:
        assert 0 <= rank < world_size
        assert batch_size > 0
        self.n, self.seed, self.batch_size = n, seed, batch_size
        self.rank, self.world_size = rank, world_size
        self.shuffle, self.drop_last = shuffle, drop_last

    @property
    def global_batch_size(self) -> int:
        return self.batch_size * self.world_size

    @property
    def num_batches(self) -> int:
        """Batches of a whole epoch on this rank."""
        return self._num_batches_from(0)

    def permutation(self, epoch: int) -> Positions:
        """All sample positions, (n,), in the order of this epoch."""
        if not self.shuffle:
            return np.arange(self.n, dtype=np.int64)
        return generator("order", self.seed, epoch).permutation(self.n)

    def batches(self, epoch: int, position: int = 0) -> Iterator[Positions]:
        """This rank's batches of what is left of ``epoch`` after ``position`` samples (over all ranks)."""
        permutation = self.permutation(epoch)
        for batch in range(self._num_batches_from(position)):
            start = position + batch * self.global_batch_size
            share = permutation[start : start + self.global_batch_size]
            yield share[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]

    def _num_batches_from(self, position: int) -> int:
        whole, rest = divmod(max(0, self.n - position), self.global_batch_size)
        has_tail = not self.drop_last and rest > self.rank * self.batch_size
        return whole + int(has_tail)
