import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from tests.train.methods.conftest import OneOfTwo
from train.methods.swav import sinkhorn, swapped_prediction

FIELDS = {"num_prototypes": 12, "temperature": 0.1}


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
    assert other.rank_state().keys() == method.rank_state().keys() >= {"model.encoder.bn1.running_mean"}
    other.load_state_dict(method.shared_state() | method.rank_state())
    assert torch.equal(other.model.encoder.bn1.running_mean, method.model.encoder.bn1.running_mean)


def scores(seed: int, *, rows: int = 24, prototypes: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (
        F.normalize(torch.randn(rows, 5, generator=generator), dim=1)
        @ F.normalize(torch.randn(prototypes, 5, generator=torch.Generator().manual_seed(99)), dim=1).T
    )


def in_double(view: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Algorithm 1's Sinkhorn as the paper writes it: prototypes by images, marginals 1/P and 1/N."""
    q = (view.double() / epsilon).exp().T
    num_prototypes, num_images = q.shape
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / num_prototypes
        q = q / q.sum(dim=0, keepdim=True) / num_images
    return (q * num_images).T


@pytest.mark.parametrize("iterations", [1, 3, 20])
def test_codes_equal_the_papers(iterations: int) -> None:
    codes = sinkhorn(scores(0), epsilon=0.05, iterations=iterations)
    expected = in_double(scores(0), epsilon=0.05, iterations=iterations)
    torch.testing.assert_close(codes.double(), expected, rtol=1e-4, atol=1e-6)


def test_codes_use_all_prototypes_equally() -> None:
    near_one = scores(0) + torch.tensor([1.0, 0, 0, 0, 0, 0, 0])
    codes = sinkhorn(near_one, epsilon=0.05, iterations=500)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(24))
    torch.testing.assert_close(codes.mean(dim=0), torch.full((7,), 1 / 7), rtol=0.01, atol=0)


def test_codes_do_not_overflow_when_sharp() -> None:
    codes = sinkhorn(scores(0), epsilon=1e-4, iterations=3)
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(24))


def test_loss_equals_the_double_sum_in_value_and_gradient() -> None:
    first, same = scores(0).requires_grad_(), scores(0).requires_grad_()
    codes = [sinkhorn(scores(seed), epsilon=0.05, iterations=3) for seed in (0, 1)]
    loss = swapped_prediction((first, scores(1)), (codes[0], codes[1]), temperature=0.1)

    total = torch.zeros((), dtype=torch.float64)
    for prediction, code in ((same, codes[1]), (scores(1), codes[0])):
        share = (prediction.double() / 0.1).exp()
        share = share / share.sum(dim=1, keepdim=True)
        total = total - (code.double() * share.log()).sum() / 24
    torch.testing.assert_close(loss.double(), total / 2, rtol=1e-5, atol=1e-6)
    ours, theirs = torch.autograd.grad(loss, first)[0], torch.autograd.grad(total / 2, same)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("num_small", [0, 3])
def test_small_crops_predict_both_codes(num_small: int) -> None:
    """Equation 6, term by term: codes of the first two views only, each predicted by all other views."""
    views = [scores(seed) for seed in range(2 + num_small)]
    codes = (sinkhorn(views[0], epsilon=0.05, iterations=3), sinkhorn(views[1], epsilon=0.05, iterations=3))
    total = torch.zeros((), dtype=torch.float64)
    for i in range(2):
        for v in {*range(len(views))} - {i}:
            shares = (views[v].double() / 0.1).exp()
            shares = shares / shares.sum(dim=1, keepdim=True)
            total = total - (codes[i].double() * shares.log()).sum() / 24 / (len(views) - 1)
    loss = swapped_prediction(tuple(views), codes, temperature=0.1)
    torch.testing.assert_close(loss.double(), total / 2, rtol=1e-5, atol=1e-6)


def test_equals_lightlys() -> None:
    peer = pytest.importorskip("lightly.loss").SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)
    first, second = scores(0), scores(1)
    codes = (sinkhorn(first, epsilon=0.05, iterations=3), sinkhorn(second, epsilon=0.05, iterations=3))
    loss = swapped_prediction((first, second), codes, temperature=0.1)
    torch.testing.assert_close(loss, peer([first, second], []).squeeze())


def test_each_view_predicts_the_others_code() -> None:
    sure, other = torch.eye(7)[:4], torch.eye(7)[1:5]
    right = swapped_prediction((sure, other), (other, sure), temperature=0.01)
    wrong = swapped_prediction((sure, other), (sure, other), temperature=0.01)
    assert right < 1e-3 < wrong


def test_is_fp32_and_codes_carry_no_gradient() -> None:
    view = scores(0).bfloat16().requires_grad_()
    codes = sinkhorn(view, epsilon=0.05, iterations=3)
    assert codes.dtype == torch.float32
    assert not codes.requires_grad
    assert swapped_prediction((view, view), (codes, codes), temperature=0.1).dtype == torch.float32
