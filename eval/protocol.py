"""Who learns and who is tested: label draws by patient, and test studies.

A label draw is a share of the training patients; draws are nested, so a larger fraction of the same draw holds the
smaller one. The test unit is the study, scored by the maximum over its views (MoCo-CXR, section 3).

Legend: M labelled training images, N labelled test images, S test studies.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shards.errors import InputError
from shards.index import LabelPolicy, ShardIndex

ViewChoice = Literal["all", "frontal", "lateral"]
_MIN_PER_CLASS = 2


@dataclass(frozen=True, kw_only=True)
class LabelledDraw:
    """The labelled training images of one random draw at one label fraction.

    ``drawn_rows`` are the global row numbers of all images drawn, ``rows`` (M,) those with a label of 0 or 1 under the
    policy; ``labels`` and ``patients`` (M,) belong to ``rows``. ``is_extended`` tells that the fraction held too few
    images of one class and the draw was extended by the next patients.
    """

    fraction: float
    draw: int
    drawn_rows: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float32]
    patients: npt.NDArray[np.int64]
    is_extended: bool


@dataclass(frozen=True, kw_only=True)
class StudySet:
    """Labelled test images, grouped into studies.

    ``rows`` (N,) global row numbers, ``studies`` (N,) the number of each image's study, ``labels`` (S,) the maximum
    over a study's images, ``patients`` (S,).
    """

    rows: npt.NDArray[np.int64]
    studies: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float32]
    patients: npt.NDArray[np.int64]

    def scores(self, image_scores: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Study scores (S,) of image scores (N,): the maximum over the study's views."""
        return _maximum_by(self.studies, image_scores, len(self.labels))


def select(index: ShardIndex, *, split: str, view: ViewChoice = "all") -> ShardIndex:
    """The images of a split and view position.

    Raises:
        InputError: there are none.
    """
    chosen = index.where(split=split) if view == "all" else index.where(split=split, view=view)
    return chosen.require_rows(f"split {split!r} with view {view!r}")


def default_test_split(index: ShardIndex) -> str:
    """``test`` if the dataset has such images, else ``valid``.

    Raises:
        InputError: it has neither.
    """
    for split in ("test", "valid"):
        if len(index.where(split=split)):
            return split
    raise InputError("--test-split: the dataset has no images of split test or valid; pack it with one of them")


def require_disjoint(train: ShardIndex, test: ShardIndex) -> None:
    """Refuses a test set that shares patients with the training set.

    Raises:
        InputError: names some of the shared patients.
    """
    shared = sorted(set(_patient_names(train)) & set(_patient_names(test)))
    if shared:
        some = ", ".join(patient for _, patient in shared[:3])
        raise InputError(
            f"--test-split: {len(shared)} patients are also in the training split, such as {some}; "
            "choose splits that share no patient"
        )


def labelled_draw(
    train: ShardIndex, label: str, fraction: float, *, draw: int, policy: LabelPolicy = "ignore", seed: int = 0
) -> LabelledDraw:
    """Draws a label fraction by patient, extended where needed until it holds two images of each class.

    The extension takes the next patients of the same draw, the fewest that suffice, so draws stay nested. Where the
    whole split has a single image of a class, that one suffices.

    Raises:
        InputError: fraction not in (0, 1], unknown label, or a split with one class only.
    """
    if not 0.0 < fraction <= 1.0:
        raise InputError(f"--fraction {fraction}: must be above 0 and at most 1")
    values = train.labels(label, policy)
    num_negatives, num_positives = int((values == 0).sum()), int((values == 1).sum())
    if not num_negatives or not num_positives:
        raise InputError(
            f"--label {label!r}: the training split has {num_positives} positive and {num_negatives} negative images, "
            "but a probe needs both; choose another label, split, view or uncertain policy"
        )
    needed = (min(_MIN_PER_CLASS, num_negatives), min(_MIN_PER_CLASS, num_positives))

    def selection(share: float) -> tuple[ShardIndex, npt.NDArray[np.float32]]:
        chosen = train.fraction(share, draw=draw, by="patient", seed=seed)
        return chosen, chosen.labels(label, policy)

    def suffices(share: float) -> bool:
        chosen = selection(share)[1]
        return int((chosen == 0).sum()) >= needed[0] and int((chosen == 1).sum()) >= needed[1]

    share = fraction
    is_extended = not suffices(fraction)
    if is_extended:
        num_patients = len(np.unique(train.patients()))
        too_few, enough = max(1, round(fraction * num_patients)), num_patients
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            too_few, enough = (too_few, middle) if suffices(middle / num_patients) else (middle, enough)
        share = enough / num_patients
    drawn, values = selection(share)
    is_labelled = np.isfinite(values)
    return LabelledDraw(
        fraction=fraction,
        draw=draw,
        drawn_rows=drawn.rows,
        rows=drawn.rows[is_labelled],
        labels=values[is_labelled],
        patients=drawn.patients()[is_labelled],
        is_extended=is_extended,
    )


def study_set(test: ShardIndex, label: str, *, policy: LabelPolicy = "ignore") -> StudySet:
    """Groups the labelled test images into studies; an image without a study is its own.

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
            f"--label {label!r}: the test split has {num_positives} positive and {len(labels) - num_positives} "
            "negative studies, but AUROC needs both; choose another label or --test-split"
        )
    return StudySet(rows=labelled.rows, studies=studies, labels=labels, patients=labelled.patients()[first])


def _maximum_by(groups: npt.NDArray[np.int64], values: npt.NDArray[np.floating], num_groups: int) -> npt.NDArray:
    maxima = np.full(num_groups, -np.inf, dtype=values.dtype)
    np.maximum.at(maxima, groups, values)
    return maxima


def _patient_names(index: ShardIndex) -> list[tuple[str, str]]:
    return list(zip(index.column("dataset"), index.column("patient_id"), strict=True))
