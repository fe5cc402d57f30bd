"""The contract between the loader and the engines that decode and warp, and the memory that their batches use again.

``V`` views, of which the last ``W`` are small crops, ``B`` rows, ``S`` and ``s`` the sides of views and small crops.
"""

import sys
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One batch to make, as :mod:`pipeline.views` draws it."""

    rows: Rows
    """Row numbers, (B,)."""
    sizes: Rows
    """Stored width and height in pixels, (B, 2)."""
    matrices: Floats
    """Forward matrices, (V, B, 2, 3), continuous coordinates."""
    tones: Floats
    """Gain, bias and gamma, (V, B, 3), that take grey levels 0..255 to the normalised view."""
    sigmas: Floats
    """Gaussian blur of the view in view pixels, (V, B); 0 is none."""


@dataclass(frozen=True)
class Views:
    """A batch that is made: ``pixels`` (V - W, B, 1, S, S) and ``small`` (W, B, 1, s, s), None where there are none, in
    float32, normalised, on the device; ``rows`` (B,).

    ``rows`` are the request's, but where a damaged image was skipped: its place is taken by another row of the batch.
    """

    pixels: torch.Tensor
    rows: Rows
    small: torch.Tensor | None = None


class Engine(Protocol):
    """Turns requests into views."""

    name: str

    def run(self, requests: Iterable[Request]) -> Generator[Views, None, None]:
        """The views of each request, in order. Requests are pulled a few batches ahead of what is consumed.

        What was handed out is never written to again.

        Raises:
            DamagedSample: an image is not as it was packed, and damaged images are not skipped.
        """
        ...

    def close(self) -> None:
        """Ends the engine's threads and gives its memory back; it cannot run again."""
        ...


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
