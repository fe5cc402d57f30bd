"""Splits from lists, by image, study and patient; what they leave out, contradict or share."""

import pytest

from shards.base.errors import InputError
from shards.packing.config import BuildConfig
from shards.packing.listed_split import list_splits
from shards.packing.plan import make_plan
from shards.sources.record import Record
from shards.sources.release import Release
from tests.conftest import write_patterns


def record(patient, study, name):
    path = f"images/{name}.png"
    return Record(
        key=name, name=path, source_path=path, split="train", patient_id=patient, study_id=f"{patient}/{study}"
    )


RELEASE = Release(labels=(), records=[record("1", "s1", "a"), record("1", "s1", "b"), record("2", "s2", "c")])


def apply(tmp_path, text):
    (tmp_path / "splits.csv").write_text(text)
    found = list_splits(RELEASE, tmp_path / "splits.csv")
    return {one.key: one.split for one in found.records}, found


@pytest.mark.parametrize(
    "text",
    [
        "patient_id,split\n1.0,train\n2,test\n",
        "StudyID;Set\ns1;training\ns2;Test\n",
        "patient,Image Index,fold\n9,a.png,train\n9,b,train\n9,images/c.png,test\n",
    ],
)
def test_rows_are_of_images_studies_or_patients(tmp_path, text):
    splits, found = apply(tmp_path, text)
    assert splits == {"a": "train", "b": "train", "c": "test"}
    assert not found.rejected
    assert found.notes[0].startswith("splits are those of the list, by ")


def test_what_the_list_lacks_is_refused(tmp_path):
    splits, found = apply(tmp_path, "patient,split\n2,valid\n3,test\n")
    assert splits == {"c": "valid"}
    assert [(one.source_path, one.reason) for one in found.rejected] == [
        ("images/a.png", "no-split"),
        ("images/b.png", "no-split"),
    ]
    assert found.notes == ["splits are those of the list, by patient: 1 of its 2 rows"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,split\na,train\nb,test\nc,test\n", "1 patients are in several splits, such as 1 in test and train"),
        ("image,split\na,train\na,test\n", "line 3: image 'a' is in train and in test"),
        ("image,split\na,often\n", "line 2: split is 'often', none of train"),
        ("image,split\n,train\n", "line 2: no image"),
        ("image,label\na,1\n", "no column split; it has 'image', 'label'"),
        ("name,split\na,train\n", "no column image, study or patient"),
        ("patient,split\n7,train\n", r"its 1 rows name no patient of the input, such as '7' \(the input has '1'\)"),
        ("patient,split\n", "holds a header and no row"),
    ],
)
def test_lists_that_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        apply(tmp_path, text)


def test_builds_take_the_list_in_place_of_their_own_splits(tmp_path):
    write_patterns(tmp_path / "in", {"train": 2, "test": 1})
    rows = ["path,split"] + [f"{split}/{kind}/{kind}{n:03d}.png,valid" for split, kind, n in [("train", "blob", 0)]]
    (tmp_path / "splits.csv").write_text("\n".join([*rows, "test/blob/blob000.png,train"]))
    config = BuildConfig(
        source="folder", input=tmp_path / "in", output=tmp_path / "out", splits=tmp_path / "splits.csv"
    )
    plan = make_plan(config)
    assert {one.source_path: one.split for one in plan.records} == {
        "train/blob/blob000.png": "valid",
        "test/blob/blob000.png": "train",
    }
    with pytest.raises(InputError, match="--splits: --split draws splits as well"):
        make_plan(BuildConfig(**{**vars(config), "split": "70/10/20"}))
    with pytest.raises(InputError, match="no such file"):
        make_plan(BuildConfig(**{**vars(config), "splits": tmp_path / "none.csv"}))
