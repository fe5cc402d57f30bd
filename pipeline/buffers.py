"""Batches in memory that is used again, so that no batch pays for fresh pages."""

import sys

import numpy as np
import numpy.typing as npt
import torch


class Buffers:
    """Float32 arrays of one shape, each handed out again once nobody holds it.

    A tensor made of an array holds the array, and so does every view of that tensor and what autograd saved of it: the
    array's own reference count says when it is free. A consumer that keeps its batches gets fresh memory each time.
    """

    def __init__(self, shape: tuple[int, ...], *, keep: int) -> None:
        self._shape, self._keep = shape, keep
        self._arrays: list[npt.NDArray[np.float32]] = []
        self._held_here = sys.getrefcount(np.empty(0)) + 1  # by the list

    def take(self) -> torch.Tensor:
        """A tensor of the shape, of any content."""
        free = [i for i in range(len(self._arrays)) if sys.getrefcount(self._arrays[i]) <= self._held_here]
        for i in reversed(free[self._keep :]):
            del self._arrays[i]
        if not free:
            self._arrays.append(np.empty(self._shape, dtype=np.float32))
            free = [len(self._arrays) - 1]
        return torch.from_numpy(self._arrays[free[0]])
