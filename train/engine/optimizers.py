"""The optimisers: torch's own as one fused kernel over all weights, and LARS."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from train.settings.config import OptimizerConfig


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of what is trainable among ``parameters``. Its learning rate is set anew at each step, for each of
    its parameter groups."""
    groups = parameter_groups(config, parameters)
    match config.name:
        case "adam":
            return torch.optim.Adam(groups, lr=config.lr, betas=config.betas, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)
        case "lars":
            return Lars(groups, lr=config.lr, momentum=config.sgd_momentum, trust=config.trust)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.sgd_momentum, fused=True)


def parameter_groups(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """What decays, and, where ``config.exclude`` says so, what does not: all of one dimension, so biases and the scale
    and shift of norms."""
    excludes = config.exclude == "norms_and_biases" or (config.exclude == "auto" and config.name == "lars")

    def settings(_: str, parameter: nn.Parameter) -> dict[str, float]:
        decays = parameter.ndim > 1 or not excludes
        adapts = {"adapts": decays} if config.name == "lars" else {}
        return {"weight_decay": config.weight_decay if decays else 0.0, **adapts}

    return grouped((("", parameter) for parameter in parameters), settings)


def grouped(
    named: Iterable[tuple[str, nn.Parameter]], settings: Callable[[str, nn.Parameter], dict[str, float]]
) -> list[dict[str, Any]]:
    """What is trained of some parameters, as an optimiser's groups: those of like settings are one, in the order in
    which they come."""
    groups: dict[tuple[tuple[str, float], ...], list[nn.Parameter]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            groups.setdefault(tuple(settings(name, parameter).items()), []).append(parameter)
    return [{"params": parameters, **dict(key)} for key, parameters in groups.items()]


class Lars(torch.optim.Optimizer):
    """SGD with momentum whose step is scaled for each layer to a set share of the length of its weights (You, Gitman,
    Ginsburg 2017, arXiv 1708.03888).

    For weights w of a group that ``adapts``, with gradient g and decay d::

        u = g + d * w
        v = momentum * v + (trust * |w| / |u|) * u        (u as it is where |w| or |u| is 0)
        w = w - lr * v

    The paper has |g| + d * |w| in place of |u|, and the learning rate inside v; this is the form that BYOL, Barlow
    Twins and MoCo v3 were published with. Groups that do not adapt take plain momentum steps with u.

    A layer must be one tensor: with ZeRO, which cuts all weights as one flat vector, a layer would have no length of
    its own. All layers go through multi-tensor calls; nothing is read back from the device.
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float, trust: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0, "adapts": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step(weights, group)

    def _step(self, weights: list[Any], group: dict[str, Any]) -> None:
        updates: Any = [weight.grad for weight in weights]
        if group["weight_decay"]:
            updates = torch._foreach_add(updates, weights, alpha=group["weight_decay"])
        if group["adapts"]:
            updates = torch._foreach_mul(updates, _ratios(weights, updates, trust=group["trust"]))
        velocities = [self._velocity(weight) for weight in weights]
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, updates)
        torch._foreach_add_(weights, velocities, alpha=-group["lr"])

    def _velocity(self, weight: nn.Parameter) -> Tensor:
        state = self.state[weight]
        if not state:
            state["velocity"] = torch.zeros_like(weight)
        velocity: Tensor = state["velocity"]
        return velocity


def _ratios(weights: list[Any], updates: list[Tensor], *, trust: float) -> list[Tensor]:
    """Of each layer: the share of its weights' length over its update's, as scalars on the device."""
    lengths = torch.stack(torch._foreach_norm(weights))
    steps = torch.stack(torch._foreach_norm(updates))
    is_defined = (lengths > 0) & (steps > 0)
    return list(torch.where(is_defined, trust * lengths / steps, 1.0).unbind())
