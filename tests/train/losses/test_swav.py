import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from train.losses.swav import sinkhorn, swapped_prediction


def scores(seed: int, *, rows: int = 24, prototypes: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (
        F.normalize(torch.randn(rows, 5, generator=generator), dim=1)
        @ F.normalize(torch.randn(prototypes, 5, generator=torch.Generator().manual_seed(99)), dim=1).T
    )


def in_double(view: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Algorithm 1's Sinkhorn as the paper writes it: prototypes by images, marginals 1/P and 1/N."""
    q = (view.double() / epsilon).exp().T
    num_prototypes, num_images = q.shape
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / num_prototypes
        q = q / q.sum(dim=0, keepdim=True) / num_images
    return (q * num_images).T


@pytest.mark.parametrize("iterations", [1, 3, 20])
def test_codes_equal_the_papers(iterations: int) -> None:
    codes = sinkhorn(scores(0), epsilon=0.05, iterations=iterations)
    expected = in_double(scores(0), epsilon=0.05, iterations=iterations)
    torch.testing.assert_close(codes.double(), expected, rtol=1e-4, atol=1e-6)


def test_codes_use_all_prototypes_equally() -> None:
    near_one = scores(0) + torch.tensor([1.0, 0, 0, 0, 0, 0, 0])
    codes = sinkhorn(near_one, epsilon=0.05, iterations=500)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(24))
    torch.testing.assert_close(codes.mean(dim=0), torch.full((7,), 1 / 7), rtol=0.01, atol=0)


def test_codes_do_not_overflow_when_sharp() -> None:
    codes = sinkhorn(scores(0), epsilon=1e-4, iterations=3)
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(24))


def test_loss_equals_the_double_sum_in_value_and_gradient() -> None:
    first, same = scores(0).requires_grad_(), scores(0).requires_grad_()
    codes = [sinkhorn(scores(seed), epsilon=0.05, iterations=3) for seed in (0, 1)]
    loss = swapped_prediction((first, scores(1)), (codes[0], codes[1]), temperature=0.1)

    total = torch.zeros((), dtype=torch.float64)
    for prediction, code in ((same, codes[1]), (scores(1), codes[0])):
        share = (prediction.double() / 0.1).exp()
        share = share / share.sum(dim=1, keepdim=True)
        total = total - (code.double() * share.log()).sum() / 24
    torch.testing.assert_close(loss.double(), total / 2, rtol=1e-5, atol=1e-6)
    ours, theirs = torch.autograd.grad(loss, first)[0], torch.autograd.grad(total / 2, same)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_equals_lightlys() -> None:
    peer = pytest.importorskip("lightly.loss").SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)
    first, second = scores(0), scores(1)
    codes = (sinkhorn(first, epsilon=0.05, iterations=3), sinkhorn(second, epsilon=0.05, iterations=3))
    loss = swapped_prediction((first, second), codes, temperature=0.1)
    torch.testing.assert_close(loss, peer([first, second], []).squeeze())


def test_each_view_predicts_the_others_code() -> None:
    sure, other = torch.eye(7)[:4], torch.eye(7)[1:5]
    right = swapped_prediction((sure, other), (other, sure), temperature=0.01)
    wrong = swapped_prediction((sure, other), (sure, other), temperature=0.01)
    assert right < 1e-3 < wrong


def test_is_fp32_and_codes_carry_no_gradient() -> None:
    view = scores(0).bfloat16().requires_grad_()
    codes = sinkhorn(view, epsilon=0.05, iterations=3)
    assert codes.dtype == torch.float32
    assert not codes.requires_grad
    assert swapped_prediction((view, view), (codes, codes), temperature=0.1).dtype == torch.float32
