"""Sets of images share no patient, whichever rule makes them."""

import numpy as np
import pytest

from eval.study.partition import (
    SHENZHEN_DRAWS,
    leave_out,
    partition,
    require_disjoint,
    select,
    set_aside,
    shenzhen_split,
)
from eval.study.protocol import choose_protocol
from shards.base.errors import InputError


def rows_of(num_patients: int, *, every: int = 3, images: int = 2, **columns) -> list[dict]:
    """Patients with several images each; every so many patients one has the finding."""
    return [
        {"patient_id": f"p{patient}", "study_id": f"s{image}", "Finding": int(patient % every == 0)} | columns
        for patient in range(num_patients)
        for image in range(images)
    ]


def names(index) -> set[tuple[str, str]]:
    return set(zip(index.column("dataset"), index.column("patient_id"), strict=True))


def test_a_tenth_of_the_training_patients_is_set_aside_by_seed(make_index) -> None:
    index = make_index(rows_of(50) + [{"patient_id": "t", "split": "test", "Finding": 1}])
    parts = partition(index, choose_protocol(index))
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (90, 10, 1)
    assert len(names(parts.valid)) == 5
    assert not names(parts.train) & names(parts.valid)
    again, other = (partition(index, choose_protocol(index, seed=seed)).valid.rows.tolist() for seed in (0, 1))
    assert again == parts.valid.rows.tolist() != other


def test_a_single_training_patient_cannot_be_set_aside(make_index) -> None:
    with pytest.raises(InputError, match="one patient only"):
        set_aside(make_index(rows_of(1)), seed=0)


def test_the_dataset_s_validation_split_is_used_where_it_is(make_index) -> None:
    splits = [{"patient_id": split, "split": split} for split in ("train", "valid", "test")]
    index = make_index(splits)
    parts = partition(index, choose_protocol(index))
    assert [part.rows.tolist() for part in (parts.train, parts.valid, parts.test)] == [[0], [1], [2]]


@pytest.mark.parametrize(("split", "option"), [("test", "--test-split"), ("valid", "--valid-split")])
def test_shared_patients_are_refused_by_name(make_index, split: str, option: str) -> None:
    rows = [{"patient_id": name, "split": name} for name in ("train", "valid", "test")]
    index = make_index([*rows, {"patient_id": "Ann", "split": "train"}, {"patient_id": "Ann", "split": split}])
    with pytest.raises(InputError, match=f"{option}: 1 patients.*such as Ann"):
        partition(index, choose_protocol(index))


def test_equal_patient_names_of_two_datasets_are_two_patients(make_index) -> None:
    index = make_index([{"patient_id": "1", "dataset": name, "split": name} for name in ("train", "test")])
    require_disjoint(select(index, split="train"), select(index, split="test"))


def test_selection_by_split_and_view(make_index) -> None:
    views = ("frontal", "lateral", "frontal")
    index = make_index([{"patient_id": "a", "split": "valid", "view": view} for view in views])
    assert len(select(index, split="valid")) == 3
    assert select(index, split="valid", view="lateral").rows.tolist() == [1]
    with pytest.raises(InputError, match="split 'test'"):
        select(index, split="test")


def test_the_left_out_hospital_is_tested_whole_and_never_learnt_from(make_index) -> None:
    index = make_index(
        rows_of(20, dataset="here") + rows_of(20, dataset="there") + rows_of(5, dataset="there", split="test")
    )
    parts = partition(index, choose_protocol(index, left_out="there"))
    assert set(parts.train.column("dataset")) == set(parts.valid.column("dataset")) == {"here"}
    assert set(parts.test.column("dataset")) == {"there"}
    assert len(parts.test) == 50
    assert len(parts.train) + len(parts.valid) == 40
    with pytest.raises(InputError, match="known: here, there"):
        leave_out(index, "nowhere")
    with pytest.raises(InputError, match="is the only dataset"):
        leave_out(index.where(dataset="here"), "here")


def test_shenzhen_s_rule_splits_both_classes_alike(make_index) -> None:
    index = make_index(rows_of(662, every=2, images=1))
    parts = shenzhen_split(index, label="Finding")
    sizes = {name: len(getattr(parts, name)) for name in ("train", "valid", "test")}
    assert sum(sizes.values()) == 662
    for name, share in (("train", 0.65), ("valid", 0.15), ("test", 0.2)):
        assert sizes[name] == pytest.approx(share * 662, abs=2)
        positives = int(getattr(parts, name).labels("Finding").sum())
        assert 0.9 <= positives / (sizes[name] - positives) <= 1.2
    every = np.concatenate([parts.train.rows, parts.valid.rows, parts.test.rows])
    assert len(np.unique(every)) == 662
    assert shenzhen_split(index, seed=1, label="Finding").test.rows.tolist() != parts.test.rows.tolist()
    assert list(SHENZHEN_DRAWS.values()) == [12, 10, 8, 8, 4, 4, 4, 1]


def test_shenzhen_s_rule_keeps_patients_whole_and_refuses_unequal_classes(make_index) -> None:
    parts = shenzhen_split(make_index(rows_of(60, every=2, images=3)), label="Finding")
    assert not names(parts.train) & names(parts.test)
    assert len(parts.test) == 36
    with pytest.raises(InputError, match="ratio must be 0.9 to 1.2"):
        shenzhen_split(make_index(rows_of(60, every=4)), label="Finding")
    with pytest.raises(InputError, match="'Tuberculosis'"):
        shenzhen_split(make_index(rows_of(6)))
