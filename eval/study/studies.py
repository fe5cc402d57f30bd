"""The test unit is the study, scored by the maximum over its views (MoCo-CXR, section 3).

Legend: N labelled test images, S test studies, T scored images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.study.cells import Cell
from eval.study.protocol import Protocol
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.options import LabelPolicy

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

    def folds_of(self, cell: Cell) -> npt.NDArray[np.int64] | None:
        """The fold of each study (S,), whose images are of one patient and hence of one fold."""
        if cell.folds is None:
            return None
        return self.scores_of(cell.test_rows, cell.folds.astype(np.float64)).astype(np.int64)


def study_set(test: ShardIndex, label: str, *, policy: LabelPolicy = "ignore") -> StudySet:
    """Groups the labelled images into studies; an image without a study is its own.

    Raises:
        InputError: unknown label, or studies of one class only.
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
    if num_positives in (0, len(labels)):
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


@dataclass(frozen=True, kw_only=True)
class TestCounts:
    """What the test set held for one label under the label policy. A study is what is scored."""

    __test__ = False  # not a test case, whatever its name says to pytest

    num_images: int
    num_studies: int
    num_patients: int
    num_positive_studies: int


@dataclass(frozen=True, kw_only=True)
class ScoredStudies:
    """The test set as all labels share it: the studies (S,) of the images that have any label.

    ``labels`` (S, L), NaN where a study has none; ``clusters`` (S,) is what the bootstrap resamples whole; ``images``
    are theirs, ``items`` the number of each image's study; ``of_label`` has each label's images and ``places`` where
    its studies are among all (S). ``folds`` (S,) tells the model that scores a study: zero, but in cross-validation.
    """

    names: tuple[str, ...]
    labels: Floats
    clusters: npt.NDArray[np.int64]
    images: ShardIndex
    items: npt.NDArray[np.int64]
    of_label: tuple[StudySet, ...]
    places: tuple[npt.NDArray[np.int64], ...]
    folds: npt.NDArray[np.int64]

    def scores(self, cell: Cell) -> Floats:
        """A cell's scores of the studies, (S, L), NaN where a study has no such label."""
        scores = np.full(self.labels.shape, np.nan)
        for number, (studies, places) in enumerate(zip(self.of_label, self.places, strict=True)):
            column = cell.scores[:, cell.labels.index(self.names[number])]
            scores[places, number] = studies.scores_of(cell.test_rows, column)
        return scores

    def counts(self) -> dict[str, TestCounts]:
        """What the test set holds of each label."""
        return {
            name: TestCounts(
                num_images=len(studies.rows),
                num_studies=len(studies.labels),
                num_patients=len(np.unique(studies.patients)),
                num_positive_studies=int(studies.labels.sum()),
            )
            for name, studies in zip(self.names, self.of_label, strict=True)
        }


def scored_studies(
    test: ShardIndex, labels: Sequence[str], protocol: Protocol, *, folds: npt.NDArray[np.int64] | None = None
) -> ScoredStudies:
    """Groups the test images into studies.

    Args:
        folds: of the test images, where they are cross-validated.

    Raises:
        InputError: unknown label, or studies of one class only.
    """
    of_label = tuple(study_set(test, label, policy=protocol.uncertain) for label in labels)
    columns = [test.column(name) for name in ("dataset", "patient_id", "study_id", "key")]
    named = ["\x1f".join((d, patient, study or key)) for d, patient, study, key in zip(*columns, strict=True)]
    numbers = np.unique(np.array(named, dtype=object), return_inverse=True)[1].ravel()  # of each test image
    numbered = [numbers[test.positions(studies.first_rows)] for studies in of_label]
    used = np.unique(np.concatenate(numbered))
    places = tuple(np.searchsorted(used, each) for each in numbered)
    values = np.full((len(used), len(labels)), np.nan)
    for number, (studies, at) in enumerate(zip(of_label, places, strict=True)):
        values[at, number] = studies.labels
    is_used = np.isin(numbers, used)
    first = np.unique(numbers[is_used], return_index=True)[1]  # an image of each study
    patients = test.patients()[is_used][first]  # of one selection, as each numbers its patients anew
    return ScoredStudies(
        names=tuple(labels),
        labels=values,
        clusters=patients if protocol.unit == "patient" else np.arange(len(used)),
        images=test.take(is_used),
        items=np.searchsorted(used, numbers[is_used]),
        of_label=of_label,
        places=places,
        folds=np.zeros(len(used), dtype=np.int64) if folds is None else folds[is_used][first],
    )
