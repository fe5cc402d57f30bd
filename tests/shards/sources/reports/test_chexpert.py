import csv
import gzip
import io
import zipfile
from dataclasses import replace

import pytest

from shards.base.errors import InputError
from shards.format.blank import UNKNOWN
from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.record import Record
from shards.sources.registry import read_release
from shards.sources.reports.chexpert import LABELS
from tests.shards.sources.listed_files import ListedFiles, real_list

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
    return {
        record.source_path: record for record in read_release("chexpert", open_files(root), SourceOptions()).records
    }


def test_rows_become_records(release):
    found = records(release)
    assert len(found) == 4
    first = found["train/patient00001/study1/view1_frontal.jpg"]
    assert first == Record(
        key="train_patient00001_study1_view1_frontal",
        name="train/patient00001/study1/view1_frontal.jpg",
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
        read_release("chexpert", open_files(release), SourceOptions())


def test_rows_that_cannot_be_read_are_rejected(release):
    with (release / "train.csv").open("a") as file:
        file.write(ROWS[0].replace("patient00001/study1/", "patient00009-").replace(",68,", ",68,") + "\n")
        file.write(ROWS[0].replace("study1", "study3").replace("1.0,,,", "yes,,,", 1) + "\n")
    rejected = read_release("chexpert", open_files(release), SourceOptions()).rejected
    assert [row.reason for row in rejected] == ["bad-path", "bad-row"]


BATCH = "CheXpert-v1.0 batch {}"


@pytest.fixture(params=["lists in batch 1", "lists beside the batches", "one folder around"])
def batches(request, tmp_path):
    """The full release: four zips unpacked side by side, patient folders of train directly in batches 2 to 4."""
    root = tmp_path / ("chexpertchestxrays-u20210408" if "around" in request.param else "")
    first = root / BATCH.format("1 (validate & csv)")
    lists = root if "beside" in request.param else first
    places = {
        "patient00001/study1/view1_frontal.jpg": BATCH.format("2 (train 1)"),
        "patient00002/study2/view1_frontal.jpg": BATCH.format("3 (train 2)"),
        "patient00002/study2/view2_lateral.jpg": BATCH.format("4 (train 3)"),  # a patient in two batches
        "valid/patient64541/study1/view1_frontal.jpg": BATCH.format("1 (validate & csv)"),
    }
    for name, place in places.items():
        (root / place / name).parent.mkdir(parents=True, exist_ok=True)
        (root / place / name).touch()
    (root / places["patient00002/study2/view2_lateral.jpg"] / "patient00001").mkdir()  # empty, and must not mislead
    rows = [row.replace(PREFIX, "CheXpert-v1.0") for row in ROWS]
    (lists / "train.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (lists / "valid.csv").write_text(f"{HEADER}\n{rows[0].replace('train/patient00001', 'valid/patient64541')}\n")
    (root / "train_cheXbert.csv").write_text("another list of the release\n")
    return tmp_path


def test_patients_are_found_across_the_four_batches(batches):
    files = open_files(batches)
    found = read_release("chexpert", files, SourceOptions())
    assert not found.rejected
    assert len(found.records) == 4
    assert all(files.has(record.name) for record in found.records)
    by_path = {record.source_path: record.name for record in found.records}
    assert "batch 4" in by_path["train/patient00002/study2/view2_lateral.jpg"]
    assert "batch 3" in by_path["train/patient00002/study2/view1_frontal.jpg"]
    assert {record.split for record in found.records} == {"train", "valid"}


def test_the_batches_give_the_same_records_as_one_folder(batches, release):
    def anonymous(root):
        found = read_release("chexpert", open_files(root), SourceOptions()).records
        return sorted((replace(record, name="-") for record in found), key=lambda record: record.key)

    assert anonymous(batches) == anonymous(release)


def write_test_set(root, list_name, column, rows):
    folder = root / "test" / "patient64741" / "study1"
    folder.mkdir(parents=True)
    for name in ("view1_frontal.jpg", "view2_lateral.jpg", "notes.txt"):
        (folder / name).touch()
    labels = [label for label in LABELS if label != "No Finding"]
    lines = [",".join([column, *labels]), *(f"{row},0.0,1.0" + ",0.0" * 11 for row in rows)]
    (root / list_name).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("list_name", "column", "rows"),
    [
        (
            "test.csv",
            "Path",
            [f"CheXpert-v1.0/test/patient64741/study1/view{i}.jpg" for i in ("1_frontal", "2_lateral")],
        ),
        ("test_labels.csv", "Path", [f"test/patient64741/study1/view{i}.jpg" for i in ("1_frontal", "2_lateral")]),
        ("groundtruth.csv", "Study", ["CheXpert-v1.0/test/patient64741/study1"]),
        ("test.csv", "Path", ["CheXpert-v1.0/test/patient64741/study1"]),
    ],
)
def test_the_test_set_has_shorter_lists_with_a_row_an_image_or_a_study(tmp_path, list_name, column, rows):
    write_test_set(tmp_path, list_name, column, rows)
    files = open_files(tmp_path)
    frontal, lateral = sorted(
        read_release("chexpert", files, SourceOptions()).records, key=lambda record: record.source_path
    )
    assert (frontal.split, frontal.view, lateral.view) == ("test", "frontal", "lateral")
    assert (frontal.sex, frontal.age, frontal.projection) == (None, None, None)
    assert frontal.study_id == lateral.study_id == "patient64741/study1"
    assert frontal.source_path == "test/patient64741/study1/view1_frontal.jpg"
    assert frontal.labels["Cardiomegaly"] == 1
    assert frontal.labels["No Finding"] == UNKNOWN, "no column says it, so it is not absent as a blank is"
    assert files.has(frontal.name)


def test_a_study_without_images_is_rejected(tmp_path):
    write_test_set(tmp_path, "groundtruth.csv", "Study", ["C/test/patient64741/study1", "C/test/patient64742/study1"])
    found = read_release("chexpert", open_files(tmp_path), SourceOptions())
    assert len(found.records) == 2
    assert [(row.source_path, row.reason) for row in found.rejected] == [("test/patient64742/study1", "missing")]


def test_a_zip_is_read_as_the_folder_is(release, tmp_path):
    with zipfile.ZipFile(tmp_path / "CheXpert-v1.0-small.zip", "w") as archive:
        for path in release.iterdir():
            archive.write(path, f"CheXpert-v1.0-small/{path.name}")
        archive.writestr("CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg", b"")
    files = open_files(tmp_path / "CheXpert-v1.0-small.zip")
    found = read_release("chexpert", files, SourceOptions()).records
    assert len(found) == 4
    assert files.has(found[0].name)


def test_rows_that_repeat_contradict_or_leave_the_input(release):
    with (release / "train.csv").open("a") as file:
        file.write(ROWS[0] + "\n")
        file.write(ROWS[1].replace(",87,", ",88,") + "\n")
        file.write(ROWS[0].replace("patient00001/study1", "../..") + "\n")
        file.write(f"{PREFIX}/train/patient00003/study1/view1_frontal.jpg,Male,30\n")
    found = read_release("chexpert", open_files(release), SourceOptions())
    assert len(found.records) == 3
    assert found.notes == ["1 rows repeat another word for word and were left out"]
    assert {row.reason: row.message for row in found.rejected} == {
        "bad-row": "line 8 has 3 fields, the header 19",
        "duplicate": "listed in 2 rows with different values (age is 87.0 and 88.0)",
        "bad-path": "its path leaves the input; paths in lists must be relative and hold no '..'",
    }


@pytest.mark.slow
def test_the_real_list():
    """Its release states 223,414 training images of 64,540 patients."""
    data = real_list("chexpert_train.csv.gz")
    text = gzip.decompress(data)
    rows = csv.DictReader(io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
    files = ListedFiles({f"{PREFIX}/train.csv": text}, [row["Path"] for row in rows])
    found = read_release("chexpert", files, SourceOptions())
    assert (len(found.records), len(found.rejected)) == (223_414, 0)
    assert len({record.patient_id for record in found.records}) == 64_540
    assert len({(record.patient_id, record.study_id) for record in found.records}) == 187_641
