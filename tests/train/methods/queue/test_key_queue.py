import torch

from train.methods.queue.key_queue import KeyQueue


def test_wrap_around_equals_a_reference_queue() -> None:
    """Keys and patients, entry by entry."""
    queue = KeyQueue(10, 4, seed=0)
    keys_reference, patients_reference = list(queue.keys.clone()), [-1] * 10
    place = 0
    for step in range(7):
        keys, patients = torch.randn(4, 4, generator=torch.Generator().manual_seed(step)), torch.arange(4) + 4 * step
        queue.enqueue(keys, patients)
        for key, patient in zip(keys, patients.tolist(), strict=True):
            keys_reference[place % 10], patients_reference[place % 10] = key, patient
            place += 1
    torch.testing.assert_close(queue.keys, torch.stack(keys_reference), rtol=0, atol=0)
    assert queue.patients.tolist() == patients_reference
    assert queue.position == place % 10


def test_starts_normalised_alike_for_a_seed_and_of_no_patient() -> None:
    one, same, other = KeyQueue(8, 16, seed=3), KeyQueue(8, 16, seed=3), KeyQueue(8, 16, seed=4)
    torch.testing.assert_close(one.keys.norm(dim=1), torch.ones(8))
    assert torch.equal(one.keys, same.keys)
    assert not torch.equal(one.keys, other.keys)
    assert one.keys.dtype == torch.float32
    assert one.patients.tolist() == [-1] * 8


def test_writes_in_place_and_keeps_its_position_on_the_host() -> None:
    queue = KeyQueue(8, 4, seed=0)
    storage = queue.keys.data_ptr(), queue.patients.data_ptr()
    queue.enqueue(torch.randn(8, 4), torch.arange(8))
    assert (queue.keys.data_ptr(), queue.patients.data_ptr()) == storage
    assert type(queue.position) is int


def test_state_dict_round_trip() -> None:
    queue, other = KeyQueue(8, 4, seed=0), KeyQueue(8, 4, seed=1)
    queue.enqueue(torch.randn(3, 4), torch.tensor([5, 5, 6]))
    other.load_state_dict(queue.state_dict())
    keys, patients = torch.randn(5, 4), torch.arange(5)
    queue.enqueue(keys, patients)
    other.enqueue(keys, patients)
    assert torch.equal(queue.keys, other.keys)
    assert other.patients.tolist() == queue.patients.tolist() == [5, 5, 6, 0, 1, 2, 3, 4]
    assert queue.position == other.position == 0
