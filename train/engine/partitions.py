"""Clipping and overflow under DeepSpeed without its waiting for the device.

DeepSpeed 0.19 clips with numbers that it uploads (ZeRO 0) or reads back (ZeRO 1 and 2), and at ZeRO 1 and 2 reads back
in every step whether the gradients are finite; with fp16 it then passes over the step without lowering the loss scale,
for ever. Here all of it stays on the device. What comes out of clipping is the same: gradients times
min(1, most / (norm + 1e-6)).
"""

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def step_without_waiting(engine: Any, *, most: float, is_scaled: bool) -> None:
    """Changes what ``engine.step`` does with gradients before the optimiser's step.

    Args:
        engine: a ``deepspeed.DeepSpeedEngine``; at ZeRO stages 1 and 2 without clipping and the gradients' norm.
        most: the norm of all gradients together is clipped to it; 0 leaves them alone.
        is_scaled: they are multiplied by the loss scale of fp16.
    """
    if not engine.zero_optimization_stage():
        # The engine calls this in place of its own, behind unscaling, where it was given ``gradient_clipping``.
        engine.clip_fp32_gradients = partial(nn.utils.clip_grad_norm_, list(engine.module.parameters()), most)
        return
    optimizer, step = engine.optimizer, engine.optimizer.step

    def prepare_and_step(*arguments: Any) -> None:
        own = [gradient for group in optimizer.averaged_gradients.values() for gradient in group or ()]
        _prepare(own, most=most, is_scaled=is_scaled)
        step(*arguments)

    if most or is_scaled:
        optimizer.step = prepare_and_step


@torch.no_grad()
def _prepare(own: list[Tensor], *, most: float, is_scaled: bool) -> None:
    """Clips the averaged gradients of this rank's part of the weights by the norm over all ranks. Where they are scaled
    and not finite on any rank, they become NaN on all, so that every rank's scaler passes over the step and lowers its
    scale."""
    square = torch.stack(torch._foreach_norm(own)).square().sum()
    dist.all_reduce(square)
    if most:
        torch._foreach_mul_(own, (most / (square.sqrt() + 1e-6)).clamp(max=1.0))
    if is_scaled:
        torch._foreach_mul_(own, torch.where(square.isfinite(), 1.0, torch.nan))
