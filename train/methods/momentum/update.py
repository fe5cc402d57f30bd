"""The momentum (exponential moving average) update of the key encoder, as one multi-tensor call."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor


class MomentumUpdate:
    """``key <- momentum * key + (1 - momentum) * query`` over all parameters at once (MoCo, equation 2).

    The two lists are made once: they hold the parameter objects, so they stay valid when DeepSpeed moves the query's
    storage. Both sides are fp32; in bf16 the update would round away (a change of 0.1 % is below half a bf16 step).
    """

    def __init__(self, key: Iterable[Tensor], query: Iterable[Tensor]) -> None:
        self.key = list(key)
        self.query = list(query)
        assert [p.shape for p in self.key] == [p.shape for p in self.query]
        assert all(p.dtype == torch.float32 for p in self.key)

    @torch.no_grad()
    def __call__(self, momentum: float) -> None:
        torch._foreach_lerp_(self.key, self.query, 1 - momentum)


def momentum_at(progress: float, *, start: float, end: float | None) -> float:
    """The momentum when ``progress`` (0 to 1) of a run is done: ``start`` throughout, or, where ``end`` is given,
    rising to it by half a cosine (BYOL, Grill et al. 2020, section 3.3; MoCo v3)."""
    if end is None:
        return start
    return end - (end - start) * (math.cos(math.pi * progress) + 1) / 2
