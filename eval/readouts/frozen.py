"""Readouts on frozen features: joins features and labels by row, and fits.

Legend: R rows, F features.
"""

import importlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.readouts.contract import Fit, Floats
from eval.readouts.registry import READOUTS
from eval.study.cells import Scores
from eval.study.draws import LabelledDraw
from eval.study.partition import Partition
from shards.base.errors import InputError


@dataclass(frozen=True)
class RowFeatures:
    """Features (R, F) by global row number; ``rows`` (R,) in any order."""

    rows: npt.NDArray[np.int64]
    values: Floats

    def at(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Features of these rows.

        Raises:
            InputError: a row has none, so these are features of another selection.
        """
        order = np.argsort(self.rows, kind="stable")
        found = order[np.searchsorted(self.rows, rows, sorter=order) % max(1, len(order))]
        if not np.array_equal(self.rows[found], rows):
            num_absent = int((self.rows[found] != rows).sum())
            raise InputError(f"features: {num_absent} of {len(rows)} images have none; compute them for all three sets")
        return self.values[found]


def frozen_readout(name: str, **options: Any) -> Fit:
    """The ``fit`` of a readout, with those of the options that it reads.

    Raises:
        InputError: an unknown name.
    """
    frozen = {known: readout for known, readout in READOUTS.items() if readout.is_frozen}
    if name not in frozen:
        raise InputError(f"readout {name!r}: unknown; the readouts of frozen features are {', '.join(frozen)}")
    fit: Fit = importlib.import_module(f"eval.readouts.{frozen[name].module}").fit
    return partial(fit, **{option: options[option] for option in frozen[name].reads if option in options})


def frozen_scores(
    fit: Fit, draw: LabelledDraw, parts: Partition, features: RowFeatures, *, valid_labels: Floats
) -> Scores:
    """Fits on the draw and scores all images of the validation and test set.

    Raises:
        InputError: features that are missing, not finite or of another encoder; a label with one class in the draw.
    """
    return fit(
        features.at(draw.rows),
        draw.labels,
        draw.patients,
        features.at(parts.valid.rows),
        valid_labels,
        features.at(parts.test.rows),
    )
