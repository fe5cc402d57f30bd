import pytest
import torch

from benchmarks.hotpath_memory import peak_bytes

MEGABYTE = 2**20


def _two_of_three() -> torch.Tensor:
    """Three tensors of a megabyte, never more than two at a time."""
    first = torch.ones(MEGABYTE // 4)
    second = first + 1
    del first
    return second * 2


def _held(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Frees what was there before and takes a third of it."""
    tensors.clear()
    return torch.ones(MEGABYTE // 4)


def test_the_peak_is_of_what_is_held_at_a_time():
    assert peak_bytes(_two_of_three, torch.device("cpu")) == pytest.approx(2 * MEGABYTE, rel=0.01)


def test_memory_of_before_does_not_count():
    kept = [torch.ones(3 * MEGABYTE // 4)]
    assert peak_bytes(lambda: _held(kept), torch.device("cpu")) == pytest.approx(MEGABYTE, rel=0.01)
