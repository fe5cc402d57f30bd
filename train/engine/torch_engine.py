"""Steps in one process, by torch alone: no process group, and nothing carried from one model to the next."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from train.engine.precision import Precision, autocast
from train.ranks.world import World


class TorchEngine:
    """The part of DeepSpeed's engine that training loops use, with the same gradients and steps. fp16 is not scaled."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, precision: Precision, clipping: float, world: World
    ) -> None:
        self.model, self.optimizer, self.clipping = model, optimizer, clipping
        self._autocast = partial(autocast, precision, world.device)

    def __call__(self, *inputs: Any) -> Any:
        with self._autocast():
            return self.model(*inputs)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def is_gradient_accumulation_boundary(self) -> bool:
        return True

    def step(self) -> None:
        """Takes the optimiser's step and forgets the gradients."""
        if self.clipping:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clipping)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def zero_optimization_stage(self) -> int:
        return 0
