import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from train.methods.byol import normalised_mse


def test_one_step_equals_the_papers_steps(build: Any, batch_of: Any) -> None:
    """Equations 1 to 3 of BYOL, written out."""
    _, method = build("byol", momentum=0.9)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in method.model.parameters():
            p += 0.01 * torch.randn_like(p)
    online, target = copy.deepcopy(method.model), copy.deepcopy(method.target)
    v1, v2 = batch_of(0).views

    method.before_step(0.0)
    objective = method.objective(method.model, (v1, v2), rows=batch_of(0).rows, batch=0)
    objective.loss.backward()

    def regression(q: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return (2 - 2 * (q * z).sum(dim=1) / (q.norm(dim=1) * z.norm(dim=1))).mean()

    with torch.no_grad():
        followed = (*online.encoder.parameters(), *online.projector.parameters())
        for xi, theta in zip(target.parameters(), followed, strict=True):
            xi.copy_(0.9 * xi + 0.1 * theta)
        z1, z2 = (target.projector(target.encoder(v)) for v in (v1, v2))
    q1, q2 = (online.predictor(online.projector(online.encoder(v))) for v in (v1, v2))
    loss = regression(q1, z2) + regression(q2, z1)
    loss.backward()

    torch.testing.assert_close(objective.loss, loss)
    torch.testing.assert_close(F.normalize(online.projector(online.encoder(v1)), dim=1), objective.first)
    for (key, ours), theirs in zip(method.model.named_parameters(), online.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=key)
    for (key, ours), theirs in zip(method.target.named_parameters(), target.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=key)
    assert objective.accuracy is None


def test_heads_are_the_papers(build: Any) -> None:
    """Projector and predictor of two layers, with batch norm behind the hidden one only."""
    _, method = build("byol")
    for head in (method.model.projector, method.model.predictor):
        assert [type(layer) for layer in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]


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
