"""Folds of patients: each image tested once, classes as even as scikit-learn makes them, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from eval.study.cohort import Cohort, open_cohort
from eval.study.config import CohortConfig
from eval.study.folds import stratified_folds
from eval.study.protocol import choose_protocol
from shards.base.errors import InputError
from shards.format.blank import UNKNOWN

Made = tuple[np.ndarray, np.ndarray]


def patients_of(num: int, *, rate: float, seed: int) -> Made:
    """Labels (N, 1) and patients (N,) of patients with one to nine images each, whose images mostly agree."""
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(num), generator.integers(1, 10, size=num))
    is_ill = generator.random(num) < rate
    return (is_ill[owner] & (generator.random(len(owner)) < 0.8)).astype(float)[:, None], owner


def spread(labels: np.ndarray, fold: np.ndarray) -> float:
    """How far the folds' shares of positives and of images lie apart, at most."""
    shares = [[labels[fold == one].sum() / labels.sum(), (fold == one).mean()] for one in np.unique(fold)]
    return float(np.ptp(shares, axis=0).max())


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_as_even_as_those_of_scikit_learn(seed: int) -> None:
    labels, patients = patients_of(150, rate=0.15, seed=seed)
    ours = stratified_folds(labels, patients, num_folds=5, seed=seed)
    theirs = np.zeros(len(labels), dtype=int)
    split = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels[:, 0], patients)
    for number, (_, tested) in enumerate(split):
        theirs[tested] = number
    assert spread(labels, ours) <= spread(labels, theirs) + 0.02
    for one in np.unique(patients):
        assert len(np.unique(ours[patients == one])) == 1


def test_several_labels_are_stratified_together_and_unknown_ones_are_no_class() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((400, 6)) < [0.5, 0.2, 0.1, 0.05, 0.05, 0.02]).astype(float)
    labels[generator.random(labels.shape) < 0.2] = np.nan
    labels[:, 5] = np.where(np.arange(400) < 5, 1.0, 0.0)  # one for each fold
    fold = stratified_folds(labels, np.arange(400), num_folds=5, seed=3)
    for column in labels.T:
        positives = [int((column[fold == one] == 1).sum()) for one in range(5)]
        assert max(positives) - min(positives) <= 2
        assert min(positives) > 0
    assert np.ptp(np.bincount(fold)) <= 4
    assert (fold == stratified_folds(labels, np.arange(400), num_folds=5, seed=3)).all()
    assert (fold != stratified_folds(labels, np.arange(400), num_folds=5, seed=4)).any()


@pytest.fixture
def dataset(make_index: Callable, tmp_path: Path) -> Path:
    """60 patients of two images each in three splits: every fourth has the finding, four the rare one; one image of
    each fifth patient is not labelled."""
    splits = ["train", "valid", "test"]
    rows = [
        {
            "patient_id": f"p{number}",
            "study_id": f"s{image}",
            "split": splits[number % 3],
            "view": "frontal" if image else "lateral",
            "Finding": UNKNOWN if image and number % 5 == 0 else int(number % 4 == 0),
            "Rare": int(number in (1, 2, 3, 5)),
        }
        for number in range(60)
        for image in range(2)
    ]
    make_index(rows, ("Finding", "Rare"))
    return tmp_path


def cross_validated(dataset: Path, *labels: str, **settings) -> Cohort:
    shares = settings.pop("fraction", (0.5, 1.0))
    asked = CohortConfig(data=(dataset,), label=labels or ("Finding",), protocol="cross-validated", draws=2, **settings)
    return open_cohort(asked, fraction=shares)


def test_every_labelled_image_is_tested_once_by_a_fold_that_does_not_know_its_patient(dataset: Path) -> None:
    cohort = cross_validated(dataset, folds=3, view="all")
    assert [fold.number for fold in cohort.folds] == [1, 2, 3]
    rows = np.concatenate([fold.parts.test.rows for fold in cohort.folds])
    assert sorted(rows) == cohort.test.rows.tolist()
    known = np.isfinite(cohort.index.labels("Finding"))
    assert set(cohort.test.rows) == set(cohort.index.rows[known])
    assert len(cohort.test) == 108
    for fold in cohort.folds:
        tested = set(fold.parts.test.column("patient_id"))
        learnt = set(fold.parts.train.column("patient_id")), set(fold.parts.valid.column("patient_id"))
        assert not tested & (learnt[0] | learnt[1])
        assert not learnt[0] & learnt[1]
        assert len(tested | learnt[0] | learnt[1]) == 60
        assert len(learnt[1]) in range(3, 6)  # a tenth of 40
        assert {0.0, 1.0} == set(fold.parts.test.labels("Finding").tolist())
        for draw in fold.draws:
            assert set(draw.rows) <= set(fold.parts.train.rows)
        assert [(draw.fraction, draw.draw) for draw in fold.draws] == [(0.5, 0), (0.5, 1), (1.0, 0)]
        assert fold.draws[0].num_patients == round(0.5 * len(learnt[0]))
    studies = cohort.scored
    of_study = dict(zip(studies.images.rows[np.argsort(studies.items)], np.sort(studies.items), strict=True))
    for fold in cohort.folds:
        for row in fold.parts.test.rows:
            assert studies.folds[of_study[row]] == fold.number


def test_the_default_is_five_folds_and_rare_labels_stay_in_training(dataset: Path) -> None:
    assert len(cross_validated(dataset).folds) == 5
    for fold in cross_validated(dataset, "Finding", "Rare", folds=2, fraction=(1.0,)).folds:
        assert set(fold.parts.train.labels("Rare").tolist()) == {0.0, 1.0}


def test_all_labels_leaves_out_those_with_too_few_patients(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cross_validated(dataset, "all", folds=5, fraction=(1.0,)).labels == ("Finding",)
    assert "'Rare' has 4 positive patients, but each fold must test one; give at most 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 40}, "--folds 40: 'Finding' has 15 positive patients, but each fold must test one; give at most 15"),
        ({"test_split": "test"}, "--test-split test: cross-validation tests every image"),
        ({"train_split": "valid"}, "--train-split valid: cross-validation"),
        ({"split_rule": "shenzhen"}, "--split-rule shenzhen: cross-validation"),
        ({"left_out": "made"}, "--left-out made: cross-validation"),
        ({"draw_file": Path("draws.parquet")}, "--draw-file draws.parquet: .*knows no folds"),
    ],
)
def test_what_does_not_go_with_folds_is_refused(dataset: Path, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cross_validated(dataset, **settings)


def test_folds_of_another_protocol_are_refused(dataset: Path) -> None:
    with pytest.raises(InputError, match="--folds 3: goes with --protocol cross-validated"):
        open_cohort(CohortConfig(data=(dataset,), label=("Finding",), folds=3))


def test_protocol_is_the_clean_one_in_folds(dataset: Path) -> None:
    protocol = cross_validated(dataset).protocol
    assert (protocol.by, protocol.unit, protocol.folds) == ("patient", "patient", 5)
    assert choose_protocol(cross_validated(dataset).index).folds == 0
