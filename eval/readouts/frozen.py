"""A cell of a readout on frozen features: joins features and labels by row, and fits.

Legend: N test images, M validation images, F features, L labels.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from eval.readouts import knn, linear
from eval.readouts.contract import Floats, Readout
from eval.study.cells import Cell, CellKey
from eval.study.draws import LabelledDraw, label_matrix
from eval.study.partition import Partition
from eval.study.protocol import Protocol
from shards.base.errors import InputError
from train.encoders.neighbours import TEMPERATURE


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


def frozen_readout(
    name: str, *, num_neighbours: int = knn.NUM_NEIGHBOURS, temperature: float = TEMPERATURE, seed: int = 0
) -> Readout:
    """The readout of a name: ``linear``, ``few-shot`` or ``knn``.

    Raises:
        InputError: an unknown name.
    """
    readouts: dict[str, Readout] = {
        "linear": partial(linear.fit, seed=seed),
        "few-shot": partial(linear.fit, seed=seed),
        "knn": partial(knn.fit, num_neighbours=num_neighbours, temperature=temperature),
    }
    if name not in readouts:
        raise InputError(f"readout {name!r}: unknown; the readouts of frozen features are {', '.join(readouts)}")
    return readouts[name]


def frozen_cell(
    key: CellKey,
    readout: Readout,
    *,
    draw: LabelledDraw,
    features: RowFeatures,
    parts: Partition,
    labels: Sequence[str],
    protocol: Protocol,
    fingerprint: str,
    encoder_hash: str,
) -> Cell:
    """Fits ``readout`` on the draw and scores all images of the validation and test set.

    Raises:
        InputError: features that are missing, not finite or of another encoder; a label with one class in the draw.
    """
    begin = time.perf_counter()
    valid_scores, scores, details = readout(
        features.at(draw.rows),
        draw.labels,
        draw.patients,
        features.at(parts.valid.rows),
        label_matrix(parts.valid, labels, protocol.uncertain),
        features.at(parts.test.rows),
    )
    return Cell(
        key=key,
        fingerprint=fingerprint,
        labels=tuple(labels),
        test_rows=parts.test.rows,
        scores=scores,
        valid_rows=parts.valid.rows,
        valid_scores=valid_scores,
        num_patients=draw.num_patients,
        num_images=draw.num_images,
        num_positives=draw.num_positives,
        is_extended=draw.is_extended,
        details=details | {"encoder_hash": encoder_hash, "draw_hash": draw.hash},
        seconds=time.perf_counter() - begin,
    )
