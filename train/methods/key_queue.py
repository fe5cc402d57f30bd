"""The queue of past keys that serve as negatives. Legend: K queue size, D embedding."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class KeyQueue:
    """A ring of K normalised fp32 keys of width D, filled with random directions at the start; with each key, the
    number of the patient it is of, -1 at the start.

    Every rank makes it from the same seed and enqueues the same gathered keys, so the ranks hold equal queues without
    ever exchanging them. The write position is a Python integer: reading it back from the device would make every
    step wait for the one before.
    """

    def __init__(self, size: int, width: int, *, seed: int, device: torch.device | str = "cpu") -> None:
        start = torch.randn(size, width, generator=torch.Generator().manual_seed(seed))
        self.keys = F.normalize(start, dim=1).to(device)  # (K, D)
        self.patients = torch.full((size,), -1, device=device)  # (K,)
        self.position = 0

    @torch.no_grad()
    def enqueue(self, keys: Tensor, patients: Tensor) -> None:
        """Overwrites the oldest keys with ``keys`` (N, D) of ``patients`` (N,), N <= K, wrapping around at the end.

        To be called after the backward pass: the loss keeps a reference to the queue, not a copy of it.
        """
        size = len(self.keys)
        assert len(keys) <= size
        fits = min(len(keys), size - self.position)
        for ring, values in ((self.keys, keys), (self.patients, patients)):
            ring[self.position : self.position + fits].copy_(values[:fits])
            if fits < len(keys):
                ring[: len(keys) - fits].copy_(values[fits:])
        self.position = (self.position + len(keys)) % size

    def state_dict(self) -> dict[str, Any]:
        return {"keys": self.keys, "patients": self.patients, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["keys"].shape == self.keys.shape
        self.keys.copy_(state["keys"])
        self.patients.copy_(state["patients"])
        self.position = state["position"]
