"""Timing of variants side by side: warm-up, alternation, median and quartiles.

Machines drift, so variants take turns (A B C A B C ...) and what is reported beside seconds is the ratio to the first
variant. The device is synchronised inside each timed region.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one call: median and quartiles over the turns; ``ratio`` is the median over turns of this variant's
    time divided by the first variant's in the same turn (below 1 is faster)."""

    median: float
    low_quartile: float
    high_quartile: float
    ratio: float
    turns: int


def time_variants(
    variants: Mapping[str, Callable[[], object]], *, turns: int, device: torch.device, min_seconds: float = 0.01
) -> dict[str, Timing]:
    """Times each variant in turn. Calls too short for the clock are repeated until they take ``min_seconds``."""
    repeats = {}
    for name, call in variants.items():
        call()  # warm-up: allocation, caches, compilation
        repeats[name] = max(1, int(min_seconds / max(_seconds(call, 1, device), 1e-9)))
    taken = {name: np.empty(turns) for name in variants}
    for turn in range(turns):
        for name, call in variants.items():
            taken[name][turn] = _seconds(call, repeats[name], device)
    first = next(iter(taken.values()))
    return {
        name: Timing(
            median=float(np.median(seconds)),
            low_quartile=float(np.quantile(seconds, 0.25)),
            high_quartile=float(np.quantile(seconds, 0.75)),
            ratio=float(np.median(seconds / first)),
            turns=turns,
        )
        for name, seconds in taken.items()
    }


def _seconds(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    _synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    _synchronise(device)
    return (time.perf_counter() - start) / repeats


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
