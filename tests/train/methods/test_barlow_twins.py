import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from train.world import World


@dataclass(frozen=True, kw_only=True)
class OneOfTwo(World):
    """A rank of two, to whom the other's tensors come from a list, one a call."""

    other: list[Tensor]

    def gather(self, tensor: Tensor) -> Tensor:
        pair = [tensor, self.other.pop(0)]
        return torch.cat(pair if self.rank == 0 else pair[::-1])


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
    other.load_state_dict(method.state_dict())
    buffers = other.rank_buffers()
    assert buffers.keys() == method.rank_buffers().keys() >= {"model.encoder.bn1.running_mean"}
    for name, buffer in method.rank_buffers().items():
        buffers[name].copy_(buffer)
    assert torch.equal(other.model.encoder.bn1.running_mean, method.model.encoder.bn1.running_mean)
