"""The test unit is the study, scored by the maximum over its views (MoCo-CXR, section 3).

Legend: N labelled test images, S test studies, T scored images.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.protocol import Unit
from shards.base.errors import InputError
from shards.index import LabelPolicy, ShardIndex

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class StudySet:
    """Labelled images, grouped into studies.

    ``rows`` (N,) global row numbers, ``studies`` (N,) the number of each image's study, ``labels`` (S,) the maximum
    over a study's images, ``patients`` (S,), ``first_rows`` (S,) one image of each study, for its sex, age and view.
    """

    rows: npt.NDArray[np.int64]
    studies: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float32]
    patients: npt.NDArray[np.int64]
    first_rows: npt.NDArray[np.int64]

    def scores(self, image_scores: Floats) -> Floats:
        """Study scores (S,) of image scores (N,): the maximum over the study's views."""
        return _maximum_by(self.studies, image_scores, len(self.labels))

    def scores_of(self, rows: npt.NDArray[np.int64], image_scores: Floats) -> Floats:
        """Study scores (S,) of the scores (T,) of ``rows`` (T,), which hold those of the set in any order; such as
        ``studies.scores_of(cell.test_rows, cell.scores[:, number])``."""
        order = np.argsort(rows)
        found = order[np.searchsorted(rows, self.rows, sorter=order) % max(1, len(rows))]
        assert np.array_equal(rows[found], self.rows), "a labelled image was not scored"
        return self.scores(image_scores[found])

    def clusters(self, unit: Unit) -> npt.NDArray[np.int64]:
        """What the bootstrap resamples whole, (S,): the patient of each study, or the study itself."""
        return self.patients if unit == "patient" else np.arange(len(self.labels))


def study_set(test: ShardIndex, label: str, *, policy: LabelPolicy = "ignore", require_both: bool = True) -> StudySet:
    """Groups the labelled images into studies; an image without a study is its own.

    Raises:
        InputError: unknown label, or studies of one class only where ``require_both``.
    """
    values = test.labels(label, policy)
    labelled = test.take(np.isfinite(values))
    values = values[np.isfinite(values)]
    columns = (labelled.column(name) for name in ("dataset", "patient_id", "study_id", "key"))
    names = [
        "\x1f".join((dataset, patient, study or key)) for dataset, patient, study, key in zip(*columns, strict=True)
    ]
    _, first, studies = np.unique(np.array(names, dtype=object), return_index=True, return_inverse=True)
    labels = _maximum_by(studies, values, len(first))
    num_positives = int(labels.sum())
    if require_both and num_positives in (0, len(labels)):
        raise InputError(
            f"--label {label!r}: the test set has {num_positives} positive and {len(labels) - num_positives} "
            "negative studies, but AUROC needs both; choose another label or --test-split"
        )
    return StudySet(
        rows=labelled.rows,
        studies=studies,
        labels=labels,
        patients=labelled.patients()[first],
        first_rows=labelled.rows[first],
    )


def _maximum_by(groups: npt.NDArray[np.int64], values: Floats, num_groups: int) -> npt.NDArray:
    maxima = np.full(num_groups, -np.inf, dtype=values.dtype)
    np.maximum.at(maxima, groups, values)
    return maxima
