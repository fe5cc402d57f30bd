import pytest
import torch
import torch.nn.functional as F

from train.losses.normalised_mse import normalised_mse


def normalised(rows: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_equals_2_minus_2_cosines_in_value_and_gradient() -> None:
    """Equation 2 of BYOL in its second form, in float64."""
    prediction, target = normalised(6, 0).requires_grad_(), normalised(6, 1)
    p, t = prediction.double(), target.double()
    expected = 2 - 2 * ((p * t).sum(dim=1) / (p.norm(dim=1) * t.norm(dim=1))).mean()
    loss = normalised_mse(F.normalize(prediction, dim=1), target)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        torch.autograd.grad(loss, prediction)[0], torch.autograd.grad(expected, prediction)[0], rtol=1e-4, atol=1e-6
    )


def test_equals_lightlys() -> None:
    """Whose BYOL takes the negative cosine, half of the same loss but for a constant."""
    lightly = pytest.importorskip("lightly.loss")
    prediction, target = normalised(6, 0), normalised(6, 1)
    theirs = 2 + 2 * lightly.NegativeCosineSimilarity()(prediction, target)
    torch.testing.assert_close(normalised_mse(prediction, target), theirs)


def test_bounds() -> None:
    one = normalised(6, 0)
    assert normalised_mse(one, one).item() == 0
    torch.testing.assert_close(normalised_mse(one, -one), torch.tensor(4.0))


def test_no_gradient_flows_into_the_target() -> None:
    prediction, target = normalised(6, 0).requires_grad_(), normalised(6, 1).requires_grad_()
    normalised_mse(prediction, target).backward()
    assert target.grad is None
    assert prediction.grad is not None


def test_is_fp32_whatever_comes_in() -> None:
    assert normalised_mse(normalised(4, 0).bfloat16(), normalised(4, 1).bfloat16()).dtype == torch.float32
