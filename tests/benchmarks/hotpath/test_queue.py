import pytest
import torch

from benchmarks.hotpath import queue as hotpath_queue
from benchmarks.hotpath.queue import IndexedQueue, TransposedQueue, measure_enqueue
from train.methods.queue.key_queue import KeyQueue


@pytest.mark.parametrize("wraps", [False, True])
def test_three_ways_are_timed(wraps):
    comparison = measure_enqueue(64, 16, turns=2, device=torch.device("cpu"), wraps=wraps)
    assert list(comparison.timings) == ["index_copy_, (K, D)", "slices, (K, D) (trainer)", "slices, (D, K)"]
    assert comparison.title.endswith("wrap-around") == wraps


@pytest.mark.parametrize("kind", [IndexedQueue, TransposedQueue, KeyQueue])
def test_a_queue_that_does_not_wrap_is_not_timed(monkeypatch, kind):
    enqueue = kind.enqueue

    def up_to_the_end(self, keys, patients):
        fits = len(self.patients) - self.position
        enqueue(self, keys[:fits], patients[:fits])
        self.position = (self.position + len(keys) - min(fits, len(keys))) % len(self.patients)

    monkeypatch.setattr(hotpath_queue, kind.__name__, type(kind.__name__, (kind,), {"enqueue": up_to_the_end}))
    with pytest.raises(AssertionError, match="not equal"):
        measure_enqueue(64, 16, turns=2, device=torch.device("cpu"), wraps=False)
