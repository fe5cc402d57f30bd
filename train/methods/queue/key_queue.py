"""The queue of past keys that serve as negatives. Legend: K queue size, D embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyQueue(nn.Module):
    """A ring of K normalised fp32 keys of width D, filled with random directions at the start; with each key, the
    number of the patient it is of, -1 at the start.

    Every rank makes it from the same seed and enqueues the same gathered keys, so the ranks hold equal queues without
    ever exchanging them. The write position is a Python integer: reading it back from the device would make every
    step wait for the one before.
    """

    keys: Tensor  # (K, D)
    patients: Tensor  # (K,)

    def __init__(self, size: int, width: int, *, seed: int, device: torch.device | str = "cpu") -> None:
        super().__init__()
        start = torch.randn(size, width, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("keys", F.normalize(start, dim=1).to(device))
        self.register_buffer("patients", torch.full((size,), -1, device=device))
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

    def get_extra_state(self) -> int:
        """The write position, for ``state_dict``."""
        return self.position

    def set_extra_state(self, state: int) -> None:
        self.position = state
