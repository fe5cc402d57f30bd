import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from tests.train.methods.conftest import OneOfTwo
from train.methods.barlow_twins import barlow_twins


def test_one_step_equals_the_papers_steps(build: Any, batch_of: Any) -> None:
    """Algorithm 1 of the paper, in its order."""
    config, method = build("barlow_twins", redundancy=0.01)
    f, batch = copy.deepcopy(method.model), batch_of()

    method.before_step(0.0)
    objective = method.objective(method.model, batch.views, rows=batch.rows, batch=0)
    objective.loss.backward()
    method.after_backward()

    z_a, z_b = (f(view).raw for view in batch.views)
    z_a_norm = (z_a - z_a.mean(0)) / (z_a.var(0, correction=0) + 1e-5).sqrt()
    z_b_norm = (z_b - z_b.mean(0)) / (z_b.var(0, correction=0) + 1e-5).sqrt()
    c = z_a_norm.T @ z_b_norm / 8
    c_diff = (c - torch.eye(config.method.embedding)).pow(2)
    c_diff[~torch.eye(config.method.embedding, dtype=torch.bool)] *= 0.01
    loss = c_diff.sum()
    loss.backward()

    torch.testing.assert_close(objective.loss, loss, rtol=1e-4, atol=1e-5)
    ours, theirs = (parameters_to_vector(p.grad for p in model.parameters()) for model in (method.model, f))
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_the_projector_is_the_papers(build: Any) -> None:
    _, method = build("barlow_twins")
    kinds = [type(layer).__name__ for layer in method.model.projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_gradients_reach_everything(build: Any, batch_of: Any) -> None:
    _, method = build("barlow_twins")
    batch = batch_of()
    objective = method.objective(method.model, batch.views, rows=batch.rows, batch=0)
    objective.loss.backward()
    assert method.target is None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.model.encoder.parameters())
    assert all(p.grad is not None for p in method.model.parameters())
    assert objective.accuracy is None
    assert not any(t.requires_grad for t in (objective.first, objective.second, objective.features))


def test_two_ranks_are_one_of_twice_the_batch(build: Any, batch_of: Any) -> None:
    """Losses are equal, and the ranks' mean gradient, which DeepSpeed takes, is that of the whole batch."""
    _, whole = build("barlow_twins", "group")
    batch = batch_of()
    expected = whole.objective(whole.model, batch.views, rows=batch.rows, batch=0)
    expected.loss.backward()

    gradients = []
    for rank in range(2):
        _, method = build("barlow_twins", "group")
        own, others = slice(4 * rank, 4 * rank + 4), slice(4 - 4 * rank, 8 - 4 * rank)
        other = [method.model(view[others]).raw.detach() for view in batch.views]
        method.world = OneOfTwo(rank=rank, size=2, local_rank=rank, device=torch.device("cpu"), other=other)
        views = tuple(view[own] for view in batch.views)
        objective = method.objective(method.model, views, rows=batch.rows[own], batch=0)
        torch.testing.assert_close(objective.loss, expected.loss, rtol=1e-4, atol=1e-5)
        objective.loss.backward()
        gradients.append(parameters_to_vector(p.grad for p in method.model.parameters()))
    wanted = parameters_to_vector(p.grad for p in whole.model.parameters())
    assert (sum(gradients) / 2 - wanted).norm() < 1e-3 * wanted.norm()


def test_the_step_never_waits_for_the_device(build: Any, batch_of: Any, no_reading: Any) -> None:
    _, method = build("barlow_twins")
    batch = batch_of()
    with no_reading():
        for number in range(2):
            method.before_step(number / 2)
            method.objective(method.model, batch.views, rows=batch.rows, batch=number).loss.backward()
            method.after_backward()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_is_fp32_in_every_precision(build: Any, batch_of: Any, precision: str) -> None:
    _, method = build("barlow_twins")
    batch = batch_of()

    def forward(views: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return method.model(views)

    objective = method.objective(forward, batch.views, rows=batch.rows, batch=0)
    assert objective.loss.dtype == objective.first.dtype == torch.float32
    objective.loss.backward()
    assert all(p.grad.dtype == torch.float32 for p in method.model.parameters())


def test_state_round_trip(build: Any, batch_of: Any) -> None:
    _, method = build("barlow_twins")
    _, other = build("barlow_twins")
    batch = batch_of()
    method.objective(method.model, batch.views, rows=batch.rows, batch=0)
    assert other.rank_state().keys() == method.rank_state().keys() >= {"model.encoder.bn1.running_mean"}
    other.load_state_dict(method.shared_state() | method.rank_state())
    assert torch.equal(other.model.encoder.bn1.running_mean, method.model.encoder.bn1.running_mean)


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
