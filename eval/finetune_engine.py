"""What makes a step of a model: DeepSpeed's engine among several processes, plain PyTorch in one.

One process may fine-tune dozens of cells in a row; plain steps need no process group, and carry nothing from one cell
to the next. Gradients and steps are the same.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from train.engine.deepspeed import deepspeed_config, start_engine
from train.engine.precision import Precision, autocast
from train.ranks.world import World
from train.settings.config import RunConfig


class PlainEngine:
    """The part of DeepSpeed's engine that fine-tuning uses."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, precision: Precision, clipping: float, world: World
    ) -> None:
        self.model, self.optimizer, self.clipping = model, optimizer, clipping
        self._autocast = partial(autocast, precision, world.device)

    def __call__(self, *inputs: Any) -> Tensor:
        with self._autocast():
            output: Tensor = self.model(*inputs)
        return output

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self) -> None:
        """Takes the optimiser's step and forgets the gradients."""
        if self.clipping:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clipping)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def zero_optimization_stage(self) -> int:
        return 0


def build_engine(
    model: nn.Module,
    groups: list[dict[str, Any]],
    *,
    precision: Precision,
    clipping: float,
    batch_size: int,
    world: World,
) -> Any:
    """The engine of ``model`` with AdamW on parameter ``groups``.

    Args:
        batch_size: images a process and a step.
    """
    optimizer = torch.optim.AdamW(groups, fused=True)
    if world.size == 1:
        return PlainEngine(model, optimizer, precision=precision, clipping=clipping, world=world)
    run = RunConfig(batch_size=batch_size, gradient_clipping=clipping)
    return start_engine(model, optimizer, deepspeed_config(run, precision=precision, optimizer="adamw"), world)
