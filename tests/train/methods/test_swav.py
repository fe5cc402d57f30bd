import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from train.world import World

FIELDS = {"num_prototypes": 12, "temperature": 0.1}


@dataclass(frozen=True, kw_only=True)
class OneOfTwo(World):
    """A rank of two, to whom the other's tensors come from a list, one a call."""

    other: list[Tensor]

    def gather(self, tensor: Tensor) -> Tensor:
        pair = [tensor, self.other.pop(0)]
        return torch.cat(pair if self.rank == 0 else pair[::-1])


def test_one_step_equals_the_papers_steps(build: Any, batch_of: Any) -> None:
    """Algorithm 1 of the paper, in its order."""
    _, method = build("swav", **FIELDS)
    f, batch = copy.deepcopy(method.model), batch_of()

    method.before_step(0.0)
    objective = method.objective(method.model, batch.views, rows=batch.rows, batch=0)
    objective.loss.backward()
    method.after_backward()

    prototypes = f.prototypes / f.prototypes.norm(dim=1, keepdim=True)
    scores = [F.normalize(f(view).raw, dim=1) @ prototypes.T for view in batch.views]
    codes = []
    for view in scores:
        q = (view.detach() / 0.05).exp().T
        q /= q.sum()
        for _ in range(3):
            q /= q.sum(dim=1, keepdim=True) * 12
            q /= q.sum(dim=0, keepdim=True) * 8
        codes.append((q * 8).T)
    p_t, p_s = (F.softmax(view / 0.1, dim=1) for view in scores)
    q_t, q_s = codes
    loss = -0.5 * (q_t * p_s.log() + q_s * p_t.log()).sum(dim=1).mean()
    loss.backward()

    torch.testing.assert_close(objective.loss, loss)
    ours, theirs = (parameters_to_vector(p.grad for p in model.parameters()) for model in (method.model, f))
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def test_gradients_reach_everything(build: Any, batch_of: Any) -> None:
    _, method = build("swav", **FIELDS)
    batch = batch_of()
    objective = method.objective(method.model, batch.views, rows=batch.rows, batch=0)
    objective.loss.backward()
    assert method.target is None
    assert "prototypes" in dict(method.model.named_parameters()), "DeepSpeed trains what is the model's"
    trained = [method.model.prototypes, *method.model.encoder.parameters()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert all(p.grad is not None for p in method.model.parameters())
    assert objective.accuracy is None
    assert not any(t.requires_grad for t in (objective.first, objective.second, objective.features))


def test_only_the_direction_of_prototypes_matters(build: Any, batch_of: Any) -> None:
    _, method = build("swav", **FIELDS)
    batch = batch_of()
    method.model.eval()
    before = method.model(batch.views[0]).prediction
    with torch.no_grad():
        method.model.prototypes *= torch.arange(1.0, 13.0)[:, None]
    torch.testing.assert_close(method.model(batch.views[0]).prediction, before)
    assert before.abs().max() <= 1 + 1e-5


def test_two_ranks_are_one_of_twice_the_batch(build: Any, batch_of: Any) -> None:
    """Codes are made over all ranks: losses and gradients, averaged over ranks, are those of the whole batch."""
    _, whole = build("swav", "group", **FIELDS)
    batch = batch_of()
    expected = whole.objective(whole.model, batch.views, rows=batch.rows, batch=0)
    expected.loss.backward()

    losses, gradients = [], []
    for rank in range(2):
        _, method = build("swav", "group", **FIELDS)
        own, others = slice(4 * rank, 4 * rank + 4), slice(4 - 4 * rank, 8 - 4 * rank)
        other = [method.model(view[others]).prediction.detach() for view in batch.views]
        method.world = OneOfTwo(rank=rank, size=2, local_rank=rank, device=torch.device("cpu"), other=other)
        views = tuple(view[own] for view in batch.views)
        objective = method.objective(method.model, views, rows=batch.rows[own], batch=0)
        objective.loss.backward()
        losses.append(objective.loss.detach())
        gradients.append(parameters_to_vector(p.grad for p in method.model.parameters()))
    torch.testing.assert_close(sum(losses) / 2, expected.loss.detach(), rtol=1e-4, atol=1e-5)
    wanted = parameters_to_vector(p.grad for p in whole.model.parameters())
    assert (sum(gradients) / 2 - wanted).norm() < 1e-3 * wanted.norm()


def test_the_step_never_waits_for_the_device(build: Any, batch_of: Any, no_reading: Any) -> None:
    _, method = build("swav", **FIELDS)
    batch = batch_of()
    with no_reading():
        for number in range(2):
            method.before_step(number / 2)
            method.objective(method.model, batch.views, rows=batch.rows, batch=number).loss.backward()
            method.after_backward()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_and_loss_are_fp32_in_every_precision(build: Any, batch_of: Any, precision: str) -> None:
    _, method = build("swav", **FIELDS)
    batch, outputs = batch_of(), []

    def forward(views: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            outputs.append(method.model(views))
        return outputs[-1]

    objective = method.objective(forward, batch.views, rows=batch.rows, batch=0)
    assert objective.loss.dtype == outputs[0].prediction.dtype == torch.float32
    exact = outputs[0].embedding @ F.normalize(method.model.prototypes, dim=1).T
    torch.testing.assert_close(outputs[0].prediction, exact, rtol=1e-5, atol=1e-6)
    objective.loss.backward()
    assert all(p.grad.dtype == torch.float32 for p in method.model.parameters())


def test_state_round_trip(build: Any, batch_of: Any) -> None:
    _, method = build("swav", **FIELDS)
    _, other = build("swav", **FIELDS)
    assert torch.equal(method.model.prototypes, other.model.prototypes), "ranks start from the same"
    batch = batch_of()
    method.objective(method.model, batch.views, rows=batch.rows, batch=0)
    other.load_state_dict(method.state_dict())
    buffers = other.rank_buffers()
    assert buffers.keys() == method.rank_buffers().keys() >= {"model.encoder.bn1.running_mean"}
    for name, buffer in method.rank_buffers().items():
        buffers[name].copy_(buffer)
    assert torch.equal(other.model.encoder.bn1.running_mean, method.model.encoder.bn1.running_mean)
