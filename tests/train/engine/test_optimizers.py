import copy

import pytest
import torch
from torch import nn

from train.engine.optimizers import Lars, build_optimizer, parameter_groups
from train.settings.config import OptimizerConfig

LARS = OptimizerConfig(name="lars", lr=0.5, weight_decay=0.1, sgd_momentum=0.9, trust=0.01)


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def give_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_lars_equals_the_reference_layer_by_layer() -> None:
    parameters = list(make_network().parameters())
    expected = [p.detach().double() for p in parameters]
    velocities = [torch.zeros_like(w) for w in expected]
    optimizer = build_optimizer(LARS, parameters)
    for step in range(3):
        give_gradients(parameters, step)
        for group in optimizer.param_groups:
            group["lr"] = 0.5 / (step + 1)
        optimizer.step()
        for w, v, p in zip(expected, velocities, parameters, strict=True):
            assert p.grad is not None
            update = p.grad.double()
            if w.ndim > 1:
                update = update + 0.1 * w
                update = update * 0.01 * w.norm() / update.norm()
            v.mul_(0.9).add_(update)
            w.sub_(0.5 / (step + 1) * v)
    for p, w in zip(parameters, expected, strict=True):
        torch.testing.assert_close(p.double(), w, rtol=1e-5, atol=1e-6)


def test_lars_takes_the_plain_step_where_a_length_is_zero() -> None:
    zero = nn.Parameter(torch.zeros(2, 2))
    zero.grad = torch.ones(2, 2)
    still = nn.Parameter(torch.ones(2, 2))
    still.grad = torch.zeros(2, 2)
    Lars([{"params": [zero, still]}], lr=0.1, momentum=0.9, trust=0.001).step()
    assert torch.equal(zero, torch.full((2, 2), -0.1))
    assert torch.equal(still, torch.ones(2, 2))


def test_lars_resumes_from_its_state() -> None:
    parameters, others = (list(make_network().parameters()) for _ in range(2))
    one, other = build_optimizer(LARS, parameters), build_optimizer(LARS, others)
    give_gradients(parameters, 0)
    one.step()
    for ours, theirs in zip(others, parameters, strict=True):
        ours.data.copy_(theirs)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for each, optimizer in ((parameters, one), (others, other)):
        give_gradients(each, 1)
        optimizer.step()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(others, parameters, strict=True))


@pytest.mark.parametrize(
    ("name", "exclude", "excludes"),
    [("adam", "auto", False), ("sgd", "auto", False), ("lars", "auto", True), ("lars", "none", False)]
    + [(name, "norms_and_biases", True) for name in ("adam", "adamw", "sgd", "lars")],
)
def test_norms_and_biases_are_left_out_of_decay_where_asked(name: str, exclude: str, excludes: bool) -> None:
    """The published recipes decay everything, with adam."""
    network = make_network()
    config = OptimizerConfig(name=name, exclude=exclude, weight_decay=0.1)  # type: ignore[arg-type]
    groups = parameter_groups(config, network.parameters())
    decaying = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    wanted = [network[0].weight, network[3].weight] if excludes else list(network.parameters())
    assert decaying == {id(p) for p in wanted}
    assert sum(len(group["params"]) for group in groups) == 6


@pytest.mark.parametrize(
    ("name", "reference"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_equals_torch(name: str, reference: type[torch.optim.Optimizer]) -> None:
    parameters, others = (list(make_network().parameters()) for _ in range(2))
    optimizer = build_optimizer(OptimizerConfig(name=name, lr=0.01, weight_decay=0.1), parameters)  # type: ignore[arg-type]
    more = {"momentum": 0.9} if name == "sgd" else {}
    plain = reference(others, lr=0.01, weight_decay=0.1, foreach=False, **more)  # type: ignore[call-arg]
    for step in range(3):
        for each, one in ((parameters, optimizer), (others, plain)):
            give_gradients(each, step)
            one.step()
    for p, other in zip(parameters, others, strict=True):
        torch.testing.assert_close(p, other)


def test_frozen_parameters_are_left_out() -> None:
    network = make_network()
    network[0].requires_grad_(False)
    groups = parameter_groups(OptimizerConfig(), network.parameters())
    assert len(groups[0]["params"]) == 4
