"""Enqueueing a batch of keys, in the ways it is written. Part of ``python -m benchmarks hotpath``.

Legend: B batch, D embedding, K queue.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.hotpath.momentum import name_in
from benchmarks.measuring.result import Comparison
from benchmarks.measuring.timing import time_variants
from train.methods.queue.key_queue import KeyQueue

WIDTH = 128  # D
TRAINER = "slices, (K, D) (trainer)"


class IndexedQueue:
    """A ring written by index, its position a number of the host: ``index_copy_`` of the slots modulo K."""

    def __init__(self, size: int, *, device: torch.device) -> None:
        start = KeyQueue(size, WIDTH, seed=0, device=device)
        self.keys, self.patients, self.position = start.keys, start.patients, 0

    def enqueue(self, keys: Tensor, patients: Tensor) -> None:
        slots = (torch.arange(len(keys), device=keys.device) + self.position) % len(self.keys)
        self.keys.index_copy_(0, slots, keys)
        self.patients.index_copy_(0, slots, patients)
        self.position = (self.position + len(keys)) % len(self.keys)


class TransposedQueue:
    """A ring of columns (D, K), as in MoCo's own code, written by slices."""

    def __init__(self, size: int, *, device: torch.device) -> None:
        start = KeyQueue(size, WIDTH, seed=0, device=device)
        self.columns, self.patients, self.position = start.keys.T.contiguous(), start.patients, 0

    @property
    def keys(self) -> Tensor:
        return self.columns.T

    def enqueue(self, keys: Tensor, patients: Tensor) -> None:
        size = len(self.patients)
        fits = min(len(keys), size - self.position)
        for ring, values in ((self.columns, keys.T), (self.patients, patients)):
            ring[..., self.position : self.position + fits].copy_(values[..., :fits])
            if fits < len(keys):
                ring[..., : len(keys) - fits].copy_(values[..., fits:])
        self.position = (self.position + len(keys)) % size


Queue = KeyQueue | IndexedQueue | TransposedQueue


def measure_enqueue(size: int, batch: int, *, turns: int, device: torch.device, wraps: bool) -> Comparison:
    """Times the enqueueing of (B, D) keys and their patients, once every way leaves the ring that a plain loop leaves.

    Args:
        wraps: every call begins half a batch before the end, so that it wraps around; otherwise calls go round.
    """
    generator = torch.Generator().manual_seed(0)
    keys = F.normalize(torch.randn(batch, WIDTH, generator=generator)).to(device)
    patients = torch.arange(batch, device=device)
    queues: dict[str, Queue] = {
        "index_copy_, (K, D)": IndexedQueue(size, device=device),
        TRAINER: KeyQueue(size, WIDTH, seed=0, device=device),
        "slices, (D, K)": TransposedQueue(size, device=device),
    }
    for name, queue in queues.items():
        _check(name, queue, keys, patients)

    def call(queue: Queue) -> None:
        if wraps:
            queue.position = size - batch // 2
        queue.enqueue(keys, patients)

    variants: dict[str, Callable[[], object]] = {name: partial(call, queue) for name, queue in queues.items()}
    return Comparison(
        title=f"enqueue, queue {size:,}, batch {batch}" + (", wrap-around" if wraps else ""),
        work=f"keys of width {WIDTH} and their patients; a key is read and written",
        rate=2 * keys.nbytes / 1e9,
        unit="GB",
        timings=time_variants(variants, turns=turns, device=device),
    )


def _check(name: str, queue: Queue, keys: Tensor, patients: Tensor) -> None:
    """Three batches from half a batch before the end on, entry by entry."""
    expected_keys, expected_patients = queue.keys.clone(), queue.patients.clone()
    size = len(expected_keys)
    position = queue.position = size - len(keys) // 2
    for turn in range(3):
        queue.enqueue(keys + turn, patients + turn)
        slots = [(position + place) % size for place in range(len(keys))]
        expected_keys[slots], expected_patients[slots] = keys + turn, patients + turn
        position = (position + len(keys)) % size
    torch.testing.assert_close(queue.keys, expected_keys, rtol=0, atol=0, msg=name_in(name))
    torch.testing.assert_close(queue.patients, expected_patients, rtol=0, atol=0, msg=name_in(name))
    assert queue.position == position
