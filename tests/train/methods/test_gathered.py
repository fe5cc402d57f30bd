import torch
from torch import Tensor

from train.methods.barlow_twins import barlow_twins
from train.methods.gathered import with_gradient


def embeddings(seed: int, *, rows: int = 24) -> Tensor:
    return 3 * torch.randn(rows, 10, generator=torch.Generator().manual_seed(seed)) + 1


def test_the_mean_gradient_of_two_ranks_is_that_of_one_batch() -> None:
    weight, same = torch.eye(10).requires_grad_(), torch.eye(10).requires_grad_()
    first, second = embeddings(0), embeddings(1)
    whole = barlow_twins(first @ weight, second @ weight, redundancy=0.05)
    expected = torch.autograd.grad(whole, weight)[0]

    gradients = []
    for rank, share in enumerate((slice(0, 12), slice(12, 24))):
        sides = [with_gradient(side[share] @ same, (side @ same).detach(), rank=rank) for side in (first, second)]
        loss = barlow_twins(*sides, redundancy=0.05)
        torch.testing.assert_close(loss, whole)
        gradients.append(torch.autograd.grad(loss, same)[0])
    torch.testing.assert_close(sum(gradients) / 2, expected, rtol=1e-4, atol=1e-6)


def test_values_pass_through_to_the_bit() -> None:
    own = embeddings(0)
    others = embeddings(1, rows=48)
    joined = with_gradient(own, torch.cat([others[:24], own, others[24:]]), rank=1)
    assert torch.equal(joined, torch.cat([others[:24], own, others[24:]]))
