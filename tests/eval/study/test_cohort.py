"""``--label all`` takes every label that could be asked for alone, and tells of the others."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from eval.study.cohort import open_cohort
from eval.study.config import CohortConfig
from shards.base.errors import InputError
from shards.derived import write_subset
from shards.format.blank import UNKNOWN
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset

LABELS = ("Finding", "Never", "Untested", "Unknown", "Seldom")


@pytest.fixture
def dataset(make_index, tmp_path: Path) -> Path:
    """40 training and 20 test patients. One label is never there, one never in test, one never said, one twice in
    training."""
    rows = [
        {
            "patient_id": f"{split}{number}",
            "split": split,
            "Finding": number % 2,
            "Never": 0,
            "Untested": int(split == "train" and number % 2),
            "Unknown": UNKNOWN,
            "Seldom": int(number < 2),
        }
        for split, num_patients in (("train", 40), ("test", 20))
        for number in range(num_patients)
    ]
    make_index(rows, LABELS)
    return tmp_path


def config(dataset: Path, *labels: str, **settings) -> CohortConfig:
    return CohortConfig(data=(dataset,), label=labels, **settings)


def test_all_leaves_out_what_no_readout_can_learn_or_test(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = open_cohort(config(dataset, "all", draws=2), fraction=(0.5, 1.0))
    assert cohort.labels == ("Finding", "Seldom")
    assert np.isfinite(cohort.scored.labels).all()
    told = capsys.readouterr().err
    assert "warning: --label all: 3 labels are left out:\n" in told
    for name, why in (("Never", "0 positive and"), ("Untested", "the test set has 0"), ("Unknown", "0 negative")):
        assert any(repr(name) in line and why in line for line in told.splitlines())


def test_all_is_the_same_as_naming_what_is_left(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of_all = open_cohort(config(dataset, "all", draws=2), fraction=(0.5,))
    named = open_cohort(config(dataset, *of_all.labels, draws=2), fraction=(0.5,))
    assert [each.hash for each in of_all.folds[0].draws] == [each.hash for each in named.folds[0].draws]
    assert of_all.folds[0].parts.valid.rows.tolist() == named.folds[0].parts.valid.rows.tolist()
    capsys.readouterr()


def test_all_leaves_out_labels_with_fewer_positives_than_draws_or_shots(dataset: Path, capsys) -> None:
    assert open_cohort(config(dataset, "all", draws=5), fraction=(0.5,)).labels == ("Finding",)
    assert open_cohort(config(dataset, "all", draws=1), fraction=(), shots=(4,)).labels == ("Finding",)
    assert "'Seldom'" in capsys.readouterr().err


def test_a_label_named_is_refused_and_not_left_out(dataset: Path) -> None:
    with pytest.raises(InputError, match="--label 'Never': the training set has 0 positive"):
        open_cohort(config(dataset, "Finding", "Never"))


def test_all_is_refused_where_nothing_is_left(make_index, tmp_path: Path) -> None:
    make_index([{"patient_id": f"{s}{i}", "split": s, "Finding": 0} for i in range(9) for s in ("train", "test")])
    with pytest.raises(InputError, match="--label all: no label can be learnt"):
        open_cohort(config(tmp_path, "all"))


def test_the_same_data_twice_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    """A copy and a half of a dataset; and its release packed again, where that is learnt from and tested on."""
    shutil.copytree(tiny_dataset, tmp_path / "copy")
    write_subset(ShardIndex.open(tiny_dataset).where(split="test"), tmp_path / "half", selection={})
    for other, count in (("copy", 96), ("half", 32)):
        with pytest.raises(InputError, match=f"--data: {count} images are in two of the datasets"):
            open_cohort(CohortConfig(data=(tmp_path / other, tiny_dataset), label=("blob",)))
    build_dataset(
        BuildConfig(source="folder", input=tiny_dataset.parent / "source", output=tmp_path / "again", size=32)
    )
    both = (tiny_dataset, tmp_path / "again")
    with pytest.raises(InputError, match="--data: 58 of 96 test images are training images too, packed into another"):
        open_cohort(CohortConfig(data=both, label=("blob",), left_out="again"))
    cohort = open_cohort(CohortConfig(data=both, label=("blob",)))
    assert len(cohort.folds[0].parts.test) == 64, "each is on one side"
