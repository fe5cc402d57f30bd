import torch

from train.negatives import KeyQueue


def test_wrap_around_equals_a_reference_queue() -> None:
    queue = KeyQueue(10, 4, seed=0)
    reference = list(queue.keys.clone())
    place = 0
    for step in range(7):
        keys = torch.randn(4, 4, generator=torch.Generator().manual_seed(step))
        queue.enqueue(keys)
        for key in keys:
            reference[place % 10] = key
            place += 1
    torch.testing.assert_close(queue.keys, torch.stack(reference), rtol=0, atol=0)
    assert queue.position == place % 10


def test_starts_normalised_and_alike_for_a_seed() -> None:
    one, same, other = KeyQueue(8, 16, seed=3), KeyQueue(8, 16, seed=3), KeyQueue(8, 16, seed=4)
    torch.testing.assert_close(one.keys.norm(dim=1), torch.ones(8))
    assert torch.equal(one.keys, same.keys)
    assert not torch.equal(one.keys, other.keys)
    assert one.keys.dtype == torch.float32


def test_writes_in_place_and_keeps_its_position_on_the_host() -> None:
    queue = KeyQueue(8, 4, seed=0)
    storage = queue.keys.data_ptr()
    queue.enqueue(torch.randn(8, 4))
    assert queue.keys.data_ptr() == storage
    assert type(queue.position) is int


def test_state_dict_round_trip() -> None:
    queue, other = KeyQueue(8, 4, seed=0), KeyQueue(8, 4, seed=1)
    queue.enqueue(torch.randn(3, 4))
    other.load_state_dict(queue.state_dict())
    keys = torch.randn(6, 4)
    queue.enqueue(keys)
    other.enqueue(keys)
    assert torch.equal(queue.keys, other.keys)
    assert queue.position == other.position == 1
