import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.train.methods.conftest import OneOfTwo
from train.ranks.world import World


def perturb(module: torch.nn.Module) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.01 * torch.randn_like(p)


def contrast(q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor, temperature: float) -> torch.Tensor:
    """Equation 1 of MoCo, as in its algorithm 1."""
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1)
    return F.cross_entropy(logits / temperature, torch.zeros(len(q), dtype=torch.long))


@pytest.mark.parametrize("name", ["moco_v2", "moco_v2plus"])
def test_one_step_equals_the_papers_steps(name: str, build: Any, batch_of: Any) -> None:
    """Algorithm 1 of MoCo, written out, with group norm so that shuffling changes nothing.

    MoCo v2+ takes the mean of the two terms; both see the queue as it was, and the keys of both views are enqueued.
    """
    config, method = build(name, "group")
    perturb(method.model)
    f_q, f_k, queue = copy.deepcopy(method.model), copy.deepcopy(method.target), method.negatives.keys.clone()
    x_q, x_k = batch_of(0).views

    method.before_step(0.0)
    objective = method.objective(method.model, (x_q, x_k), rows=batch_of(0).rows, batch=0)
    assert torch.equal(method.negatives.keys, queue), "nothing is enqueued between the terms"
    objective.loss.backward()
    method.after_backward()

    m, t = config.method.momentum, config.method.temperature
    with torch.no_grad():
        for p_k, p_q in zip(f_k.parameters(), f_q.parameters(), strict=True):
            p_k.copy_(m * p_k + (1 - m) * p_q)
        k, other_k = f_k(x_k).embedding, f_k(x_q).embedding
    q = f_q(x_q).embedding
    loss = contrast(q, k, queue, t)
    if name == "moco_v2plus":
        loss = (loss + contrast(f_q(x_k).embedding, other_k, queue, t)) / 2
    loss.backward()
    queue[:8] = k
    if name == "moco_v2plus":
        queue[8:16] = other_k

    torch.testing.assert_close(objective.loss, loss)
    for (key, ours), theirs in zip(method.model.named_parameters(), f_q.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=key)
    for ours, theirs in zip(method.target.parameters(), f_k.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(method.negatives.keys, queue, rtol=1e-4, atol=1e-5)
    assert method.negatives.position == (16 if name == "moco_v2plus" else 8)


@pytest.mark.parametrize("name", ["moco_v2", "moco_v2plus"])
def test_keys_come_back_in_the_order_of_their_queries(name: str, build: Any, batch_of: Any) -> None:
    """With equal views and one encoder on both sides, each query finds its own key among the batch."""
    _, method = build(name, "split")
    method.model.eval()
    method.target.eval()
    image, rows = batch_of(0).views[0], batch_of(0).rows
    objective = method.objective(method.model, (image, image), rows=rows, batch=3)
    torch.testing.assert_close(objective.first, objective.second, rtol=1e-4, atol=1e-5)


def test_split_groups_the_keys_otherwise_than_the_queries(build: Any, batch_of: Any) -> None:
    seen: list[torch.Tensor] = []
    _, method = build("moco_v2", "split")
    method.target.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image, rows = batch_of(0).views[0], batch_of(0).rows
    for batch in range(2):
        method.objective(method.model, (image, image), rows=rows, batch=batch)
        assert not torch.equal(seen[batch], image)
        assert torch.equal(seen[batch].flatten(1).sum(1).sort().values, image.flatten(1).sum(1).sort().values)
    assert not torch.equal(seen[0], seen[1])


def test_the_key_sides_batchnorm_trains(build: Any, batch_of: Any) -> None:
    _, method = build("moco_v2", "split")
    before = method.target.get_buffer("encoder.bn1.running_mean").clone()
    method.objective(method.model, batch_of(0).views, rows=batch_of(0).rows, batch=0)
    assert not torch.equal(method.target.get_buffer("encoder.bn1.running_mean"), before)


@pytest.mark.parametrize("name", ["moco_v2", "moco_v2plus"])
def test_keys_of_the_querys_patient_have_no_effect(name: str, build: Any, batch_of: Any) -> None:
    """Whatever a key of the same patient is, loss, accuracy and gradients stay as they are; unmasked, they do not."""
    views, rows = batch_of(1).views, torch.tensor([0, 1] * 4)  # all of patient 0
    others = F.normalize(torch.randn(24, 32, generator=torch.Generator().manual_seed(5)), dim=1)

    def results(*, masks: bool, sign: int) -> tuple[torch.Tensor, ...]:
        """With keys of patient 0 in the queue that are as near to the queries as can be, or as far."""
        _, method = build(name, "group", mask_same_patient=masks)
        own = method.objective(method.model, views, rows=rows, batch=0).first
        method.negatives.enqueue(torch.cat([sign * own, others]), torch.arange(32) // 8)
        objective = method.objective(method.model, views, rows=rows, batch=0)
        objective.loss.backward()
        return objective.loss, objective.accuracy, method.model.get_parameter("encoder.conv1.weight").grad

    for near, far in zip(results(masks=True, sign=1), results(masks=True, sign=-1), strict=True):
        assert torch.equal(near, far)
    for near, far in zip(results(masks=False, sign=1), results(masks=False, sign=-1), strict=True):
        assert not torch.equal(near, far)


def test_patients_travel_with_their_keys(build: Any, batch_of: Any) -> None:
    _, method = build("moco_v2plus", "split", mask_same_patient=True)
    for number in range(3):  # 48 keys into 32 places
        rows = batch_of(0).rows + 16 * number
        method.objective(method.model, batch_of(number).views, rows=rows, batch=number).loss.backward()
        method.after_backward()
    third, second = torch.arange(16, 24), torch.arange(8, 16)
    assert torch.equal(method.negatives.patients, torch.cat([third, third, second, second]))


@dataclass(frozen=True, kw_only=True)
class FirstOfTwo(World):
    """The first of two ranks, whose other rank sees the same keys of patients 100 further on."""

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor, tensor if tensor.is_floating_point() else tensor + 100])


def test_patients_are_gathered_as_their_keys_are(build: Any, batch_of: Any) -> None:
    _, method = build("moco_v2", "split", mask_same_patient=True)
    world = FirstOfTwo(rank=0, size=2, local_rank=0, device=torch.device("cpu"))
    method.world = method.target._world = world
    objective = method.objective(method.model, batch_of(0).views, rows=batch_of(0).rows, batch=0)
    objective.loss.backward()
    method.after_backward()
    assert method.negatives.position == 16
    assert method.negatives.patients[:16].tolist() == [*range(8), *range(100, 108)]
    torch.testing.assert_close(method.negatives.keys[:8], objective.second)


@pytest.mark.parametrize("name", ["moco_v2", "moco_v2plus"])
def test_without_a_variance_weight_the_loss_is_mocos_to_the_bit(name: str, build: Any, batch_of: Any) -> None:
    losses = []
    for weight in ({}, {"variance_weight": 0.0}, {"variance_weight": 2.0}):
        _, method = build(name, "split", **weight)
        losses.append(method.objective(method.model, batch_of(0).views, rows=batch_of(0).rows, batch=0).loss)
    assert torch.equal(losses[0], losses[1])
    assert losses[2] > losses[1]


@pytest.mark.parametrize("name", ["moco_v2", "moco_v2plus"])
def test_the_variance_term_is_vicregs_of_the_queries_of_all_ranks(name: str, build: Any, batch_of: Any) -> None:
    """Equation 1 of VICReg over both ranks' raw queries, and the gradient that DeepSpeed makes of the ranks' means."""
    batch, gradients = batch_of(0), []
    _, whole = build(name, "group", variance_weight=2.0)
    plain = copy.deepcopy(whole)
    plain.config = build(name, "group")[0].method
    outputs = [whole.model(view).raw for view in batch.views[: 1 if name == "moco_v2" else 2]]
    deviations = [torch.sqrt(raw.var(dim=0) + 1e-4) for raw in outputs]
    lack = sum(torch.clamp(1 - deviation, min=0).mean() for deviation in deviations) / len(deviations)
    losses = [one.objective(one.model, batch.views, rows=batch.rows, batch=0).loss for one in (whole, plain)]
    torch.testing.assert_close(losses[0] - losses[1], 2 * lack, rtol=1e-4, atol=1e-5)

    lack.backward()
    wanted = whole.model.encoder.conv1.weight.grad
    for rank in range(2):
        _, method = build(name, "group", variance_weight=2.0)
        own, others = slice(4 * rank, 4 * rank + 4), slice(4 - 4 * rank, 8 - 4 * rank)
        method.world = OneOfTwo(
            rank=rank, size=2, local_rank=rank, device=torch.device("cpu"), other=[o[others].detach() for o in outputs]
        )
        queries = [method.model(view[own]) for view in batch.views[: len(outputs)]]
        method._lack_of_variance(queries).backward()
        gradients.append(method.model.encoder.conv1.weight.grad)
    assert (sum(gradients) / 2 - wanted).norm() < 1e-3 * wanted.norm()
