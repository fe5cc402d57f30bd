import pytest
import torch
import torch.nn.functional as F

from train.losses.negative_cosine import negative_cosine


def normalised(rows: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_equals_the_negative_cosine_in_value_and_gradient() -> None:
    """By the angle between the two, in float64: of unit vectors, half their distance is the sine of half of it."""
    prediction, embedding = normalised(6, 0).requires_grad_(), normalised(6, 1)
    p = F.normalize(prediction.double(), dim=1)
    angle = 2 * ((p - embedding.double()).norm(dim=1) / 2).asin()
    loss = negative_cosine(F.normalize(prediction, dim=1), embedding)
    torch.testing.assert_close(loss.double(), -angle.cos().mean(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        torch.autograd.grad(loss, prediction)[0], torch.autograd.grad(-angle.cos().mean(), prediction)[0]
    )


def test_equals_lightlys() -> None:
    lightly = pytest.importorskip("lightly.loss")
    prediction, embedding = normalised(6, 0), normalised(6, 1)
    torch.testing.assert_close(
        negative_cosine(prediction, embedding), lightly.NegativeCosineSimilarity()(prediction, embedding)
    )


def test_bounds() -> None:
    one = normalised(6, 0)
    torch.testing.assert_close(negative_cosine(one, one), torch.tensor(-1.0))
    torch.testing.assert_close(negative_cosine(one, -one), torch.tensor(1.0))


def test_no_gradient_flows_into_the_embedding() -> None:
    prediction, embedding = normalised(6, 0).requires_grad_(), normalised(6, 1).requires_grad_()
    negative_cosine(prediction, embedding).backward()
    assert embedding.grad is None
    assert prediction.grad is not None


def test_is_fp32_whatever_comes_in() -> None:
    assert negative_cosine(normalised(4, 0).bfloat16(), normalised(4, 1).bfloat16()).dtype == torch.float32
