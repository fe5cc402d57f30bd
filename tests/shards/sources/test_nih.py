import gzip

import pytest

from shards.errors import InputError
from shards.sources import read_release

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    "00000001_000.png,Cardiomegaly|Effusion,0,1,57,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,No Finding,1,1,058Y,M,AP,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,414,F,PA,2500,2048,0.168,0.168",
    "00000003_000.png,Hernia,0,3,81,F,PA,2582,2991,0.143,0.143",
]


@pytest.fixture
def release(tmp_path):
    with gzip.open(tmp_path / "Data_Entry_2017_v2020.csv.gz", "wt") as file:
        file.write("\n".join([HEADER, *ROWS]) + "\n")
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png")
    (tmp_path / "images_001" / "images").mkdir(parents=True)
    for name in ("00000001_000", "00000001_001", "00000002_000", "00009999_000"):
        (tmp_path / "images_001" / "images" / f"{name}.png").touch()
    return tmp_path


def test_rows_join_with_the_images_that_are_there(release):
    found = read_release("nih", release)
    first, second, third = sorted(found.records, key=lambda record: record.key)
    assert (first.split, first.patient_id, first.study_id, first.projection) == ("train", "1", "1/0", "PA")
    assert {label for label, value in first.labels.items() if value} == {"Cardiomegaly", "Effusion"}
    assert len(first.labels) == 14
    assert (second.age, second.study_id) == (58, "1/1")
    assert (third.split, third.age, third.sex) == ("test", None, "F")


def test_what_is_missing_is_said(release):
    found = read_release("nih", release)
    assert [(row.source_path, row.reason) for row in found.rejected] == [
        ("images_001/images/00009999_000.png", "no-row")
    ]
    assert found.notes == ["1 of the 4 listed images are not in this copy"]


def test_an_image_in_neither_list_is_rejected(release):
    (release / "test_list.txt").write_text("")
    found = read_release("nih", release)
    assert [row.reason for row in found.rejected] == ["no-split", "no-row"]


def test_the_split_lists_are_needed(release):
    (release / "test_list.txt").unlink()
    with pytest.raises(InputError, match="test_list.txt is missing"):
        read_release("nih", release)
