"""Timing of variants side by side: warm-up, alternation, median and quartiles.

Machines drift, so variants take turns (A B C A B C ...) and what is reported beside seconds is how many times as fast
as the first variant each is. The device is synchronised inside each timed region.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from benchmarks.measuring.result import Timing
from benchmarks.measuring.trace import named_range

_LONG_CALL = 1.0  # seconds, beyond which a second call would only say what the first did


def time_variants(
    variants: Mapping[str, Callable[[], object]],
    *,
    turns: int,
    device: torch.device,
    min_seconds: float = 0.01,
    cpu_clock: Callable[[], float] | None = None,
) -> dict[str, Timing]:
    """Times each variant in turn. Calls too short for the clock are repeated until they take ``min_seconds``.

    Args:
        cpu_clock: seconds of processor time so far, as :func:`benchmarks.measuring.resources.cpu_seconds`; read before
            and after each turn.
    """
    repeats = {}
    for name, call in variants.items():
        seconds = _seconds(call, 1, device)  # warm-up: allocation, caches, compilation
        if seconds < _LONG_CALL:
            seconds = _seconds(call, 1, device)
        repeats[name] = max(1, int(min_seconds / max(seconds, 1e-9)))
    taken = {name: np.empty(turns) for name in variants}
    cpu = {name: np.empty(turns) for name in variants}
    for turn in range(turns):
        for name, call in variants.items():
            before = cpu_clock() if cpu_clock else 0.0
            with named_range(name, device):  # for a profile; outside of what is timed
                taken[name][turn] = _seconds(call, repeats[name], device)
            cpu[name][turn] = ((cpu_clock() if cpu_clock else 0.0) - before) / repeats[name]
    first = next(iter(taken.values()))
    return {
        name: Timing(
            median=float(np.median(seconds)),
            low_quartile=float(np.quantile(seconds, 0.25)),
            high_quartile=float(np.quantile(seconds, 0.75)),
            speed=float(np.median(first / seconds)),
            turns=turns,
            cpu_seconds=float(np.median(cpu[name])) if cpu_clock else None,
            speed_low_quartile=float(np.quantile(first / seconds, 0.25)),
            speed_high_quartile=float(np.quantile(first / seconds, 0.75)),
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
