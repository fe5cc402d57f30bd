import pytest

from shards.errors import InputError
from shards.record import Record
from shards.sources import read_release
from shards.sources.chexpert import LABELS

HEADER = ",".join(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS])
PREFIX = "CheXpert-v1.0-small"
ROWS = [
    f"{PREFIX}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
    f"{PREFIX}/train/patient00002/study2/view1_frontal.jpg,Male,87,Frontal,LL,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    f"{PREFIX}/train/patient00002/study2/view2_lateral.jpg,Unknown,90,Lateral,,,,,,,,,,,,1.0,,,",
]


@pytest.fixture
def release(tmp_path):
    """The lists of a release whose folder the user has renamed; the images are not needed to read them."""
    root = tmp_path / "my chexpert"
    root.mkdir()
    (root / "train.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    valid = ROWS[0].replace("train/patient00001", "valid/patient64541")
    (root / "valid.csv").write_text(f"{HEADER}\n{valid}\n")
    return root


def records(root):
    return {record.source_path: record for record in read_release("chexpert", root).records}


def test_rows_become_records(release):
    found = records(release)
    assert len(found) == 4
    first = found["train/patient00001/study1/view1_frontal.jpg"]
    assert first == Record(
        key="train_patient00001_study1_view1_frontal",
        path=release / "train/patient00001/study1/view1_frontal.jpg",
        source_path="train/patient00001/study1/view1_frontal.jpg",
        split="train",
        patient_id="patient00001",
        study_id="patient00001/study1",
        view="frontal",
        projection="AP",
        sex="F",
        age=68.0,
        labels={"No Finding": 1, "Pneumothorax": 0, "Support Devices": 1},
    )


def test_uncertain_blank_lateral_and_unknown_sex(release):
    found = records(release)
    second = found["train/patient00002/study2/view1_frontal.jpg"]
    assert second.labels["Pleural Effusion"] == -1
    assert "No Finding" not in second.labels
    assert second.projection == "LL"
    lateral = found["train/patient00002/study2/view2_lateral.jpg"]
    assert (lateral.view, lateral.projection, lateral.sex) == ("lateral", None, None)
    assert lateral.study_id == second.study_id


def test_the_folder_around_the_release_serves_too(release):
    assert len(records(release.parent)) == 4


def test_a_list_without_the_columns_is_refused(release):
    (release / "train.csv").write_text("Path,Sex\nx,Male\n")
    with pytest.raises(InputError, match="'No Finding' is missing"):
        read_release("chexpert", release)


def test_rows_that_cannot_be_read_are_rejected(release):
    with (release / "train.csv").open("a") as file:
        file.write(ROWS[0].replace("patient00001/study1/", "patient00009-").replace(",68,", ",68,") + "\n")
        file.write(ROWS[0].replace("study1", "study3").replace("1.0,,,", "yes,,,", 1) + "\n")
    rejected = read_release("chexpert", release).rejected
    assert [row.reason for row in rejected] == ["bad-path", "bad-row"]
