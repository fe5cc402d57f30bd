"""From logits to probabilities that mean what they say, and to decisions: both from validation patients.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599), label by label. Targets are smoothed as in Platt 1999, so that
a few images that are told apart perfectly do not make every probability 0 or 1; scikit-learn's temperature scaling
takes hard ones.

Legend: N images, V validation images, L labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit

from eval.stats.metrics import ROUNDING

Floats = npt.NDArray[np.floating]
LEAST = 10
"""Validation images of each class that a temperature is found from."""
_LOG_TEMPERATURES = (-5.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """``logits`` (V, L) of the validation images under the classifier, and their ``labels`` (V, L): 1, 0, or NaN.

    The probability of a logit z is ``expit((z - shift) / temperature)``. ``shifts`` (L,): what class weights in the
    training's loss add to a logit, the logarithm of the positives' weight. ``temperatures`` (L,): None where too few
    validation images have the label, which stands for 1 and is told as uncalibrated.
    """

    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    shifts: tuple[float, ...]
    temperatures: tuple[float | None, ...]

    def probabilities(self, logits: Floats) -> npt.NDArray[np.float32]:
        """Probabilities (N, L) of logits (N, L)."""
        temperatures = np.array([1.0 if each is None else each for each in self.temperatures])
        shifted = logits.astype(np.float64) - np.array(self.shifts)
        return expit(shifted / temperatures).astype(np.float32)

    def thresholds(self, specificity: float) -> list[float | None]:
        """The logit of each label (L,) above which an image is called positive: the lowest of the validation images'
        that at least ``specificity`` of the negative ones do not exceed. None for a label without negatives."""
        return [_threshold(self.logits[:, number], column, specificity) for number, column in enumerate(self.labels.T)]

    def num_negatives(self) -> list[int]:
        """Validation images (L,) that a threshold is found from."""
        return [int((column == 0).sum()) for column in self.labels.T]


def calibrate(logits: Floats, labels: Floats, shifts: Sequence[float] | None = None) -> Calibration:
    """The calibration that validation images give: logits (V, L) and labels (V, L) of 1, 0 and NaN; V may be 0.

    Args:
        shifts: see :class:`Calibration`; default: none.
    """
    shifts = tuple(shifts or [0.0] * labels.shape[1])
    known = [np.isfinite(column) for column in labels.T]
    return Calibration(
        logits=logits.astype(np.float32),
        labels=labels.astype(np.float32),
        shifts=shifts,
        temperatures=tuple(
            _temperature(logits[here, number].astype(np.float64) - shifts[number], labels[here, number] == 1)
            for number, here in enumerate(known)
        ),
    )


def _temperature(logits: npt.NDArray[np.float64], is_positive: npt.NDArray[np.bool_]) -> float | None:
    num_positives, num_negatives = int(is_positive.sum()), int((~is_positive).sum())
    if min(num_positives, num_negatives) < LEAST:
        return None
    targets = np.where(is_positive, (num_positives + 1) / (num_positives + 2), 1 / (num_negatives + 2))

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        return float((np.logaddexp(0.0, scaled) - targets * scaled).mean())

    return math.exp(minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-6}).x)


def _threshold(logits: Floats, labels: Floats, specificity: float) -> float | None:
    negatives = np.sort(logits[labels == 0])
    if not len(negatives):
        return None
    num_below = math.ceil(specificity * len(negatives) - ROUNDING)
    return float(negatives[max(num_below, 1) - 1])
