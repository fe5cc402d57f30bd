"""The contract between the loader and the engines that decode and warp.

``V`` views, ``B`` rows, ``S`` the view's side in pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True)
class Request:
    """One batch to make: row numbers (B,), stored sizes (B, 2) as width and height, matrices (V, B, 2, 3) as
    :func:`pipeline.views.affines` gives them."""

    rows: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    matrices: npt.NDArray[np.float64]


class Engine(Protocol):
    """Turns requests into grey levels."""

    name: str

    def run(self, requests: Iterable[Request]) -> Iterator[torch.Tensor]:
        """Grey levels 0..255, uint8 or float32, (V, B, S, S) on the engine's device, one for each request in order.

        Requests are pulled a few batches ahead of what is consumed. A tensor is valid until the next one is taken.
        """
        ...

    def close(self) -> None:
        """Ends the engine's threads; it cannot run again."""
        ...
