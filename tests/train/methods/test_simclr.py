import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from tests.train.methods.conftest import OneOfTwo
from train.methods.simclr import nt_xent


def test_one_step_equals_the_papers_steps(build: Any, batch_of: Any) -> None:
    """Algorithm 1 of the paper, in its order: views 2k - 1 and 2k are of image k."""
    _, method = build("simclr", temperature=0.5)
    f, batch = copy.deepcopy(method.model), batch_of()

    method.before_step(0.0)
    objective = method.objective(method.model, batch.views, rows=batch.rows, batch=0)
    objective.loss.backward()
    method.after_backward()

    z = torch.stack([f.projector(f.encoder(view)) for view in batch.views], dim=1).flatten(0, 1)
    s = F.cosine_similarity(z[:, None], z[None], dim=2)

    def term(i: int, j: int) -> Tensor:
        return -torch.log((s[i, j] / 0.5).exp() / sum((s[i, k] / 0.5).exp() for k in range(16) if k != i))

    loss = sum(term(2 * k, 2 * k + 1) + term(2 * k + 1, 2 * k) for k in range(8)) / 16
    loss.backward()

    torch.testing.assert_close(objective.loss, loss, rtol=1e-4, atol=1e-5)
    ours, theirs = (parameters_to_vector(p.grad for p in model.parameters()) for model in (method.model, f))
    assert (ours - theirs).norm() < 1e-3 * theirs.norm()


def test_the_projector_is_the_papers(build: Any) -> None:
    _, method = build("simclr")
    kinds = [type(layer).__name__ for layer in method.model.projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]


def test_two_ranks_are_one_of_twice_the_batch(build: Any, batch_of: Any) -> None:
    """The other rank's images are negatives, and the ranks' mean gradient, which DeepSpeed takes, is that of the whole
    batch: with that of the other rank's views for this rank's."""
    _, whole = build("simclr", "group")
    batch = batch_of()
    expected = whole.objective(whole.model, batch.views, rows=batch.rows, batch=0)
    expected.loss.backward()

    gradients = []
    for rank in range(2):
        _, method = build("simclr", "group")
        own, others = slice(4 * rank, 4 * rank + 4), slice(4 - 4 * rank, 8 - 4 * rank)
        other = [method.model(view[others]).embedding.detach() for view in batch.views]
        method.world = OneOfTwo(rank=rank, size=2, local_rank=rank, device=torch.device("cpu"), other=other)
        views = tuple(view[own] for view in batch.views)
        objective = method.objective(method.model, views, rows=batch.rows[own], batch=0)
        torch.testing.assert_close(objective.loss, expected.loss, rtol=1e-4, atol=1e-5)
        assert objective.accuracy == expected.accuracy
        objective.loss.backward()
        gradients.append(parameters_to_vector(p.grad for p in method.model.parameters()))
    wanted = parameters_to_vector(p.grad for p in whole.model.parameters())
    assert (sum(gradients) / 2 - wanted).norm() < 1e-3 * wanted.norm()


def normalised(seed: int, *, rows: int = 12, width: int = 6) -> Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def in_double(first: Tensor, second: Tensor, *, temperature: float) -> tuple[Tensor, float]:
    """Loss and accuracy, view by view and negative by negative, in Python's order."""
    views = [*first.double(), *second.double()]
    size, total, found = len(first), torch.zeros((), dtype=torch.float64), 0
    for i, view in enumerate(views):
        cosines = [(j, torch.dot(view, each) / temperature) for j, each in enumerate(views) if j != i]
        positive = next(logit for j, logit in cosines if j % size == i % size)
        negatives = [logit for j, logit in cosines if j % size != i % size]
        assert len(negatives) == 2 * size - 2
        total = total + torch.stack([positive, *negatives]).exp().sum().log() - positive
        found += all(positive > negative for negative in negatives)
    return total / (2 * size), found / (2 * size)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_equals_the_double_sum_in_value_and_gradient(temperature: float) -> None:
    first, same = normalised(0).requires_grad_(), normalised(0).requires_grad_()
    second, too = normalised(1).requires_grad_(), normalised(1).requires_grad_()
    contrast = nt_xent(first, second, temperature=temperature)
    expected, accuracy = in_double(same, too, temperature=temperature)
    torch.testing.assert_close(contrast.loss.double(), expected, rtol=1e-5, atol=1e-6)
    assert contrast.accuracy.item() == pytest.approx(accuracy)
    ours, theirs = torch.autograd.grad(contrast.loss, (first, second)), torch.autograd.grad(expected, (same, too))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_equals_lightlys() -> None:
    peer = pytest.importorskip("lightly.loss").NTXentLoss(temperature=0.2)
    first, second = normalised(0, rows=64, width=32), normalised(1, rows=64, width=32)
    torch.testing.assert_close(nt_xent(first, second, temperature=0.2).loss, peer(first, second))


def test_collapse_is_chance_and_agreement_is_found() -> None:
    one = normalised(0)[:1].expand(12, -1)
    assert nt_xent(one, one, temperature=0.2).loss.item() == pytest.approx(math.log(23), rel=1e-4)
    apart = torch.eye(12)
    contrast = nt_xent(apart, apart, temperature=0.05)
    assert contrast.loss.item() < 1e-3
    assert contrast.accuracy.item() == 1


def test_is_fp32_whatever_comes_in() -> None:
    assert nt_xent(normalised(0).bfloat16(), normalised(1).bfloat16(), temperature=0.2).loss.dtype == torch.float32
