import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from train.methods.simsiam import negative_cosine


def test_one_step_equals_the_papers_steps(build: Any, batch_of: Any) -> None:
    """Algorithm 1 of SimSiam, written out."""
    _, method = build("simsiam")
    network = copy.deepcopy(method.model)
    x1, x2 = batch_of(0).views
    objective = method.objective(method.model, (x1, x2), rows=batch_of(0).rows, batch=0)
    objective.loss.backward()

    def distance(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        z = z.detach()
        return -(F.normalize(p, dim=1) * F.normalize(z, dim=1)).sum(dim=1).mean()

    z1, z2 = (network.projector(network.encoder(x)) for x in (x1, x2))
    p1, p2 = network.predictor(z1), network.predictor(z2)
    loss = distance(p1, z2) / 2 + distance(p2, z1) / 2
    loss.backward()

    torch.testing.assert_close(objective.loss, loss)
    for (key, ours), theirs in zip(method.model.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=key)
    assert objective.accuracy is None
    assert method.target is None


def test_heads_are_the_papers(build: Any) -> None:
    """A projector of three layers with batch norm behind each, and a predictor with a bottleneck."""
    _, method = build("simsiam")
    kinds = [[type(layer) for layer in head] for head in (method.model.projector, method.model.predictor)]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert kinds == [[*hidden, *hidden, nn.Linear, nn.BatchNorm1d], [*hidden, nn.Linear]]
    assert [layer.out_features for layer in method.model.predictor if isinstance(layer, nn.Linear)] == [24, 32]


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
