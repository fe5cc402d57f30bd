import pytest
import torch

from benchmarks.hotpath import loss as hotpath_loss
from benchmarks.hotpath.loss import (
    CLONED,
    PLAIN_ALL,
    TRAINER,
    TRAINER_ALL,
    info_nce,
    measure_loss,
    measure_loss_and_queue,
    peak_bytes,
)
from train.methods.momentum.update import MomentumUpdate
from train.methods.queue.key_queue import KeyQueue

CPU = torch.device("cpu")


def test_four_ways_are_timed_with_their_memory():
    comparison = measure_loss(512, 8, turns=2, device=CPU, compiles=False)
    assert list(comparison.timings) == [CLONED, "concatenate", "split logaddexp", TRAINER]
    assert comparison.flops == 4 * 8 * 512 * 128
    assert comparison.memory is not None
    assert comparison.memory[CLONED] > 512 * 128 * 4 + 8 * 513 * 4, "the clone of the queue and the logits"
    assert comparison.flops
    assert comparison.memory


def test_loss_and_queue_take_at_most_60_percent_of_the_plain_memory():
    """A target of the project, at a size where the slices matter; memory does not depend on the machine's load."""
    memory = measure_loss_and_queue(65_536, 64, turns=1, device=CPU).memory
    assert memory is not None
    assert memory[TRAINER_ALL] < 0.6 * memory[PLAIN_ALL]


@pytest.mark.parametrize("factor", [1.001, 0.999])
def test_a_wrong_loss_is_not_timed(monkeypatch, factor):
    def wrong(query, key, negatives, *, temperature):
        return info_nce(query, key, negatives, temperature=temperature * factor)

    monkeypatch.setattr(hotpath_loss, "info_nce", wrong)
    with pytest.raises(AssertionError, match=r"slices of the queue \(trainer\): .*not close"):
        measure_loss(512, 8, turns=2, device=CPU, compiles=False)


@pytest.mark.slow
def test_compiled_ways_are_checked_and_timed():
    assert "split logaddexp, compiled" in measure_loss(512, 8, turns=2, device=CPU, compiles=True).timings


@pytest.mark.gpu
def test_momentum_loss_and_queue_never_wait_for_the_device():
    device = torch.device("cuda")
    query, key = torch.randn(2, 16, 128, device=device)
    query.requires_grad_()
    queue = KeyQueue(100, 128, seed=0, device=device)
    follow = MomentumUpdate([torch.zeros(7, device=device)], [torch.ones(7, device=device)])
    patients = torch.arange(16, device=device)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(8):  # around the queue
            follow(0.999)
            masked = patients[:, None] == queue.patients
            info_nce(query, key, queue.keys, temperature=0.2, masked=masked).loss.backward()
            queue.enqueue(key, patients)
    finally:
        torch.cuda.set_sync_debug_mode("default")


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
