import pytest
import torch
from torch import Tensor

from train.losses.barlow_twins import barlow_twins, with_gradient


def embeddings(seed: int, *, rows: int = 24, width: int = 10) -> Tensor:
    return 3 * torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) + 1


def in_double(first: Tensor, second: Tensor, *, redundancy: float) -> Tensor:
    """Equation 1 term by term, from numpy's own correlation coefficients."""
    width = first.shape[1]
    correlation = torch.corrcoef(torch.cat([first, second], dim=1).double().T)[:width, width:]
    total = torch.zeros((), dtype=torch.float64)
    for i in range(width):
        for j in range(width):
            total = total + ((1 - correlation[i, j]) ** 2 if i == j else redundancy * correlation[i, j] ** 2)
    return total


def test_equals_the_double_sum_in_value_and_gradient() -> None:
    first, same = embeddings(0).requires_grad_(), embeddings(0).requires_grad_()
    loss = barlow_twins(first, embeddings(1), redundancy=0.05)
    expected = in_double(same, embeddings(1), redundancy=0.05)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-6)
    ours, theirs = torch.autograd.grad(loss, first)[0], torch.autograd.grad(expected, same)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_equals_lightlys() -> None:
    peer = pytest.importorskip("lightly.loss").BarlowTwinsLoss(lambda_param=0.005)
    first, second = embeddings(0, rows=64, width=32), embeddings(1, rows=64, width=32)
    torch.testing.assert_close(barlow_twins(first, second, redundancy=0.005), peer(first.clone(), second.clone()))


def test_is_least_where_views_agree_and_dimensions_do_not() -> None:
    independent = torch.linalg.qr(torch.randn(64, 9, generator=torch.Generator().manual_seed(0)).sub(0.1)).Q
    independent = torch.linalg.qr(independent - independent.mean(dim=0)).Q
    assert barlow_twins(independent, independent, redundancy=1).item() < 0.01
    collapsed = independent[:, :1].expand(-1, 9)
    assert barlow_twins(collapsed, collapsed, redundancy=1).item() == pytest.approx(9 * 8, rel=0.05)


def test_is_fp32_whatever_comes_in() -> None:
    assert barlow_twins(embeddings(0).bfloat16(), embeddings(1).bfloat16(), redundancy=0.005).dtype == torch.float32


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
