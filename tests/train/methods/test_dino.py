import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from tests.train.methods.conftest import OneOfTwo
from train.methods.dino import self_distillation, warmed_up

FIELDS = {"num_prototypes": 12, "temperature": 0.1, "momentum": 0.9, "center_momentum": 0.8}


def perturb(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)


def step(method: Any, batch: Any, *, progress: float = 0.5) -> Any:
    method.before_step(progress)
    objective = method.objective(method.model, batch.views, rows=batch.rows, batch=0)
    objective.loss.backward()
    method.after_backward()
    return objective


def test_two_steps_equal_the_papers(build: Any, batch_of: Any) -> None:
    """Algorithm 1 of the paper, in its order, with its last layer as torch's own weight normalisation has it."""
    _, method = build("dino", **FIELDS)
    perturb(method.model)
    gs, gt, center = copy.deepcopy(method.model), copy.deepcopy(method.target), torch.zeros(12)

    def last_layer(model: Any) -> torch.nn.Module:
        layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(32, 12, bias=False))
        layer.parametrizations.weight.original0.data.fill_(1)
        layer.parametrizations.weight.original1.data.copy_(model.prototypes.data)
        return layer

    def h(t: Tensor, s: Tensor) -> Tensor:
        t = F.softmax((t.detach() - center) / 0.04, dim=1)
        return -(t * F.softmax(s / 0.1, dim=1).log()).sum(dim=1).mean()

    for number in range(2):
        batch = batch_of(number)
        objective = step(method, batch)
        with torch.no_grad():
            followed = dict(gs.named_parameters())
            for name, p in gt.named_parameters():
                p.copy_(0.9 * p + 0.1 * followed[name])
        student, teacher = last_layer(gs), last_layer(gt)
        s1, s2 = (student(F.normalize(gs.projector(gs.encoder(x)), dim=1)) for x in batch.views)
        t1, t2 = (teacher(F.normalize(gt.projector(gt.encoder(x)), dim=1)) for x in batch.views)
        loss = h(t1, s2) / 2 + h(t2, s1) / 2
        torch.testing.assert_close(objective.loss, loss, rtol=1e-4, atol=1e-5)
        loss.backward()
        center = 0.8 * center + 0.2 * torch.cat([t1, t2]).detach().mean(dim=0)
        torch.testing.assert_close(method.center, center, rtol=1e-4, atol=1e-6)
        raw = student.parametrizations.weight.original1.grad
        torch.testing.assert_close(method.model.prototypes.grad, raw, rtol=1e-3, atol=1e-6)
        ours, theirs = (
            parameters_to_vector(p.grad for part in (m.encoder, m.projector) for p in part.parameters())
            for m in (method.model, gs)
        )
        assert (ours - theirs).norm() < 1e-3 * theirs.norm()
        for model in (method.model, gs):
            model.zero_grad()


def test_the_projector_is_the_papers(build: Any) -> None:
    for norm, hidden in ((False, ["Linear", "GELU"]), (True, ["Linear", "BatchNorm1d", "GELU"])):
        _, method = build("dino", projector_norm=norm)
        assert [type(layer).__name__ for layer in method.model.projector] == [*hidden, *hidden, "Linear"]


def test_prototypes_are_frozen_in_the_first_epoch(build: Any, batch_of: Any) -> None:
    """Of the run's 20 epochs: their gradient is zero, the others' is what it would be anyway."""
    gradients = []
    for epochs in (1.0, 0.0):
        _, method = build("dino", **FIELDS, freeze_prototypes_epochs=epochs)
        perturb(method.model)
        step(method, batch_of(0), progress=0.9 / 20)
        gradients.append(method.model.encoder.conv1.weight.grad.clone())
        assert bool(method.model.prototypes.grad.any()) == (epochs == 0)
        method.model.zero_grad()
        step(method, batch_of(0), progress=1.0 / 20)
        assert method.model.prototypes.grad.any()
    assert torch.equal(*gradients)


def test_the_teachers_temperature_rises_and_stays(build: Any) -> None:
    fields = {"teacher_temperature": 0.04, "teacher_temperature_end": 0.07, "teacher_warmup_epochs": 10.0}
    _, method = build("dino", **FIELDS, **fields)
    found = []
    for epoch in (0, 5, 10, 19):
        method.before_step(epoch / 20)
        found.append(method._teacher_temperature)
    assert found == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert warmed_up(3, start=0.04, end=None, warmup_epochs=0) == 0.04


def test_two_ranks_are_one_of_twice_the_batch(build: Any, batch_of: Any) -> None:
    """Losses and gradients, averaged over ranks, are those of the whole batch; the centre is equal on both."""
    _, whole = build("dino", "group", **FIELDS)
    batch = batch_of()
    expected = step(whole, batch)

    losses, gradients = [], []
    for rank in range(2):
        _, method = build("dino", "group", **FIELDS)
        own, others = slice(4 * rank, 4 * rank + 4), slice(4 - 4 * rank, 8 - 4 * rank)
        other = [method.target(view[others]).embedding for view in batch.views]
        world = OneOfTwo(rank=rank, size=2, local_rank=rank, device=torch.device("cpu"), other=other)
        method.world = method.target._world = world
        batch_here = copy.copy(batch)
        batch_here.views, batch_here.rows = tuple(view[own] for view in batch.views), batch.rows[own]
        losses.append(step(method, batch_here).loss.detach())
        gradients.append(parameters_to_vector(p.grad for p in method.model.parameters()))
        torch.testing.assert_close(method.center, whole.center, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(sum(losses) / 2, expected.loss.detach(), rtol=1e-4, atol=1e-5)
    wanted = parameters_to_vector(p.grad for p in whole.model.parameters())
    assert (sum(gradients) / 2 - wanted).norm() < 1e-3 * wanted.norm()


def outputs(seed: int, *, rows: int = 6, prototypes: int = 5) -> Tensor:
    return torch.randn(rows, prototypes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_small", [0, 3])
def test_equals_the_sums_number_by_number(num_small: int) -> None:
    student = [outputs(seed) for seed in range(2 + num_small)]
    teacher = [outputs(10), outputs(11)]
    center = torch.linspace(-0.5, 0.5, 5)
    loss = self_distillation(student, teacher, center=center, temperature=0.1, teacher_temperature=0.05)

    def shares(row: Any, temperature: float) -> Any:
        exponentials = [np.exp(np.float64(value) / temperature) for value in row]
        return [each / sum(exponentials) for each in exponentials]

    total, num_terms = 0.0, 0
    for i, target in enumerate(teacher):
        for j, prediction in enumerate(student):
            if i == j:
                continue
            num_terms += 1
            for image in range(6):
                p = shares((target[image].double() - center.double()).tolist(), 0.05)
                q = shares(prediction[image].tolist(), 0.1)
                total -= sum(a * np.log(b) for a, b in zip(p, q, strict=True)) / 6
    assert num_terms == 2 * (1 + num_small)
    assert loss.item() == pytest.approx(total / num_terms, rel=1e-5)


def test_only_the_student_learns_and_all_is_fp32() -> None:
    student, teacher = outputs(0).bfloat16().requires_grad_(), outputs(1).bfloat16().requires_grad_()
    loss = self_distillation(
        [student, student], [teacher, teacher], center=torch.zeros(5), temperature=0.1, teacher_temperature=0.04
    )
    assert loss.dtype == torch.float32
    loss.backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_the_centre_takes_away_what_all_outputs_share() -> None:
    """With the same prototype on top for all images, sharpening alone says the same of all; centred, it does not."""
    shared = outputs(0) + 3 * F.one_hot(torch.tensor(2), 5)
    spread = [((shared - c) / 0.04).softmax(dim=1).mean(dim=0).max() for c in (torch.zeros(5), shared.mean(dim=0))]
    assert spread[0] > 0.9 > 0.8 > spread[1]
