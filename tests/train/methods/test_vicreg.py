import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from tests.train.methods.conftest import OneOfTwo
from train.methods.vicreg import variance_hinge, vicreg


def test_one_step_equals_the_papers_steps(build: Any, batch_of: Any) -> None:
    """Algorithm 1 of the paper, in its order and with its weights, but for the mean over views, as in its code."""
    config, method = build("vicreg")
    f, batch = copy.deepcopy(method.model), batch_of()

    method.before_step(0.0)
    objective = method.objective(method.model, batch.views, rows=batch.rows, batch=0)
    objective.loss.backward()
    method.after_backward()

    z_a, z_b = (f(view).raw for view in batch.views)
    sim_loss = torch.nn.functional.mse_loss(z_a, z_b)
    std_a, std_b = (torch.sqrt(z.var(dim=0) + 1e-4) for z in (z_a, z_b))
    std_loss = (torch.relu(1 - std_a).mean() + torch.relu(1 - std_b).mean()) / 2
    cov_a, cov_b = (torch.cov(z.T) for z in (z_a, z_b))
    width = config.method.embedding
    off = ~torch.eye(width, dtype=torch.bool)
    cov_loss = (cov_a[off].pow(2).sum() / width + cov_b[off].pow(2).sum() / width) / 2
    loss = 25 * sim_loss + 25 * std_loss + cov_loss
    loss.backward()

    torch.testing.assert_close(objective.loss, loss, rtol=1e-4, atol=1e-5)
    ours, theirs = (parameters_to_vector(p.grad for p in model.parameters()) for model in (method.model, f))
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_the_projector_is_the_papers(build: Any) -> None:
    _, method = build("vicreg")
    kinds = [type(layer).__name__ for layer in method.model.projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_two_ranks_are_one_of_twice_the_batch(build: Any, batch_of: Any) -> None:
    """Losses are equal, and the ranks' mean gradient, which DeepSpeed takes, is that of the whole batch."""
    _, whole = build("vicreg", "group")
    batch = batch_of()
    expected = whole.objective(whole.model, batch.views, rows=batch.rows, batch=0)
    expected.loss.backward()

    gradients = []
    for rank in range(2):
        _, method = build("vicreg", "group")
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


def embeddings(seed: int, *, rows: int = 12, width: int = 5) -> Tensor:
    """Columns of standard deviations from .3 to 2, so that some are short of 1 and some are not."""
    scale = torch.linspace(0.3, 2, width)
    return scale * torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) + 1


def in_numpy(first: Tensor, second: Tensor, *, invariance: float, variance: float, covariance: float) -> float:
    """Equations 1 to 6 number by number, in float64."""
    sides = [side.numpy().astype(np.float64) for side in (first, second)]
    size, width = sides[0].shape
    distance = sum(float(np.sum((a - b) ** 2)) for a, b in zip(*sides, strict=True)) / size / width
    spread = shared = 0.0
    for side in sides:
        means = [sum(column) / size for column in side.T]
        for i in range(width):
            for j in range(width):
                products = [(row[i] - means[i]) * (row[j] - means[j]) for row in side]
                entry = sum(products) / (size - 1)
                if i == j:
                    spread += max(0.0, 1 - (entry + 1e-4) ** 0.5) / width / 2
                else:
                    shared += entry**2 / width / 2
    return invariance * distance + variance * spread + covariance * shared


@pytest.mark.parametrize(
    "weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)], ids=["all", "s", "v", "c"]
)
def test_equals_the_sums_number_by_number(weights: tuple[float, float, float]) -> None:
    named = dict(zip(("invariance", "variance", "covariance"), weights, strict=True))
    expected = in_numpy(embeddings(0), embeddings(1), **named)
    assert expected > 0
    assert vicreg(embeddings(0), embeddings(1), **named).item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_the_slope() -> None:
    """Against differences of the sums above, in every number of the first view."""
    first, second, step = embeddings(0, rows=6, width=3), embeddings(1, rows=6, width=3), 1e-3
    leaf = first.clone().requires_grad_()
    weights = {"invariance": 2.0, "variance": 3.0, "covariance": 1.0}
    (gradient,) = torch.autograd.grad(vicreg(leaf, second, **weights), leaf)
    for place in np.ndindex(6, 3):
        sides = []
        for sign in (1, -1):
            moved = first.double().clone()
            moved[place] += sign * step
            sides.append(in_numpy(moved, second, **weights))
        assert gradient[place].item() == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-3, abs=1e-4)


def test_equals_lightlys() -> None:
    peer = pytest.importorskip("lightly.loss").VICRegLoss()
    first, second = embeddings(0, rows=64, width=32), embeddings(1, rows=64, width=32)
    loss = vicreg(first, second, invariance=25, variance=25, covariance=1)
    torch.testing.assert_close(loss, peer(first, second))


def test_the_hinge_is_whole_at_a_collapse_and_nothing_beyond_1() -> None:
    assert variance_hinge(torch.ones(12, 5)).item() == pytest.approx(0.99)
    assert variance_hinge(50 * embeddings(0)) == 0


def test_is_fp32_whatever_comes_in() -> None:
    loss = vicreg(embeddings(0).bfloat16(), embeddings(1).bfloat16(), invariance=25, variance=25, covariance=1)
    assert loss.dtype == torch.float32
