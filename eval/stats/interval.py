"""Confidence intervals from bootstrap replicates, two-sided p values from the same, Holm's correction of many,
and the verdict.

Legend: R replicates.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

Key = TypeVar("Key", bound=Hashable)
Verdict = Literal["better", "worse", "unclear"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A point estimate with the limits of its confidence interval."""

    estimate: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether ``value`` lies outside the interval."""
        return value < self.low or value > self.high


def percentile_interval(estimate: float, replicates: npt.NDArray[np.float64], *, level: float = 0.95) -> Interval:
    """The interval between the percentiles of finite replicates (R,) that leave out half of 1 - ``level`` each side."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate=float(estimate), low=float(low), high=float(high))


def pivotal_interval(estimate: float, replicates: npt.NDArray[np.float64], *, level: float = 0.95) -> Interval:
    """The interval of a figure that is too high in every sample, such as a calibration error: as far as the replicates
    lie above the estimate, the estimate lies above the truth. Kept from 0 up, and around the estimate."""
    low, high = np.quantile(2 * estimate - replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate=float(estimate), low=float(max(0.0, min(low, estimate))), high=float(max(high, estimate)))


def percentile_p_value(differences: npt.NDArray[np.float64]) -> float:
    """The two-sided p value of "no difference" from replicates (R,) of a difference, by inverting the percentile
    interval: under 0.05 where the 95 % interval excludes zero, up to the interpolation between two replicates.

    One is added to the counts (Davison and Hinkley 1997, section 4.2), so it is never under 2 / (R + 1).
    """
    fewer_sided = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (1 + fewer_sided) / (len(differences) + 1))


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """P values corrected for their number by Holm's step-down rule (1979): those at most 0.05 are together wrong with a
    probability of at most 0.05, however the comparisons depend on each other."""
    corrected: dict[Key, float] = {}
    largest = 0.0
    for rank, (key, value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * value))
        corrected[key] = largest
    return {key: corrected[key] for key in p_values}


def replicates_for_holm(num_comparisons: int, *, level: float = 0.95) -> int:
    """The fewest replicates with which the clearest of so many comparisons can pass Holm's correction at all: with
    fewer, even the smallest p value that :func:`percentile_p_value` can give is too large after it."""
    return math.ceil(2 * num_comparisons / (1 - level) - 1e-9) - 1


def verdict(difference: float, p_holm: float, level: float) -> Verdict:
    """Whether a difference is sure at ``level``, and its direction."""
    if p_holm >= round(1 - level, 9):  # 1 - .95 is not quite .05
        return "unclear"
    return "better" if difference > 0 else "worse"
