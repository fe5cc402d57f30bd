import torch

from pipeline.engines.contract import Buffers


def test_memory_is_used_again_once_nobody_holds_it():
    buffers = Buffers((4, 8), keep=2)
    batch = buffers.take()
    place, corner = batch.data_ptr(), batch[1:2].unsqueeze(0)
    del batch
    assert buffers.take().data_ptr() != place  # a view of it is still held
    del corner
    assert buffers.take().data_ptr() == place


def test_memory_saved_for_backward_is_left_alone():
    buffers = Buffers((4, 8), keep=2)
    batch = buffers.take().fill_(3.0)
    place, weight = batch.data_ptr(), torch.ones(8, requires_grad=True)
    loss = (batch @ weight).sum()
    del batch
    assert buffers.take().fill_(0.0).data_ptr() != place
    loss.backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.full((8,), 12.0))
    del loss
    assert buffers.take().data_ptr() == place


def test_a_burst_is_given_back():
    buffers = Buffers((4, 8), keep=2)
    held = [buffers.take() for _ in range(10)]
    assert len({batch.data_ptr() for batch in held}) == 10
    del held
    buffers.take()
    assert len(buffers._arrays) == 2
