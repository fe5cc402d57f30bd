import csv
import gzip
import io
from collections import Counter

import pytest

from shards.base.errors import InputError
from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from shards.sources.reports.nih import BOX_LIST
from tests.shards.sources.listed_files import ListedFiles, real_list

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
    found = read_release("nih", open_files(release), SourceOptions())
    first, second, third = sorted(found.records, key=lambda record: record.key)
    assert (first.split, first.patient_id, first.study_id, first.projection) == ("train", "1", "1/0", "PA")
    assert {label for label, value in first.labels.items() if value} == {"Cardiomegaly", "Effusion"}
    assert len(first.labels) == 14
    assert (second.age, second.study_id) == (58, "1/1")
    assert (third.split, third.age, third.sex) == ("test", None, "F")


def test_what_is_missing_is_said(release):
    found = read_release("nih", open_files(release), SourceOptions())
    assert [(row.source_path, row.reason) for row in found.rejected] == [
        ("images_001/images/00009999_000.png", "no-row")
    ]
    assert found.notes == ["1 of the 4 listed images are not in this copy"]


def test_an_image_in_neither_list_is_rejected(release):
    (release / "test_list.txt").write_text("")
    found = read_release("nih", open_files(release), SourceOptions())
    assert [row.reason for row in found.rejected] == ["no-split", "no-row"]


def test_the_split_lists_are_needed(release):
    (release / "test_list.txt").unlink()
    with pytest.raises(InputError, match="test_list.txt is missing"):
        read_release("nih", open_files(release), SourceOptions())


def test_the_older_list_has_one_more_comma_and_ages_in_months(release):
    (release / "Data_Entry_2017_v2020.csv.gz").unlink()
    rows = [ROWS[0].replace(",57,", ",010M,"), ROWS[1], ROWS[2], ROWS[3]]
    lines = [HEADER.replace("spacing", "Spacing") + ",", *(row + "," for row in rows)]
    (release / "Data_Entry_2017.csv").write_text("\r\n".join(lines) + "\r\n")
    found = read_release("nih", open_files(release), SourceOptions())
    assert len(found.records) == 3
    first = next(record for record in found.records if record.key == "00000001_000")
    assert (first.age, first.projection) == (pytest.approx(10 / 12), "PA")


@pytest.mark.parametrize("older", ["Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv.gz"])
def test_the_newest_of_two_lists_is_taken_and_the_other_told(release, older):
    newer = release / "Data_Entry_2017_v2020.csv"
    lines = [HEADER, *(row.replace("Cardiomegaly|Effusion", "Mass") for row in ROWS)]
    if older.endswith(".csv"):
        (release / "Data_Entry_2017_v2020.csv.gz").unlink()
        (release / older).write_text("\n".join([HEADER, *ROWS]) + "\n")
    newer.write_text("\n".join(lines) + "\n")
    found = read_release("nih", open_files(release), SourceOptions())
    first = next(record for record in found.records if record.key == "00000001_000")
    assert {label for label, value in first.labels.items() if value} == {"Mass"}
    assert found.notes[0] == f"labels are those of Data_Entry_2017_v2020.csv; {older} was not read"


def test_lists_of_which_none_is_known_to_be_newer_are_refused(release):
    (release / "Data_Entry_2017_v2020.csv.gz").unlink()
    for name in ("Data_Entry_2017.csv", "Data_Entry_2017 (1).csv"):
        (release / name).write_text("\n".join([HEADER, *ROWS]) + "\n")
    with pytest.raises(
        InputError, match=r"several lists of entries \(Data_Entry_2017 \(1\)\.csv, Data_Entry_2017\.csv\)"
    ):
        read_release("nih", open_files(release), SourceOptions())


def test_a_header_that_says_sex_and_ends_in_a_comma(release):
    (release / "Data_Entry_2017_v2020.csv.gz").unlink()
    lines = [HEADER.replace("Gender", "Sex") + ",", *ROWS]
    (release / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n")
    found = read_release("nih", open_files(release), SourceOptions())
    assert {record.key: record.sex for record in found.records} == {
        "00000001_000": "M",
        "00000001_001": "M",
        "00000002_000": "F",
    }


def test_short_rows_unknown_findings_and_copies_are_rejected(release):
    with gzip.open(release / "Data_Entry_2017_v2020.csv.gz", "wt") as file:
        rows = [ROWS[0].replace("Effusion", "Efusion"), "00000001_001.png,No Finding,1", *ROWS[2:]]
        file.write("\n".join([HEADER, *rows]) + "\n")
    (release / "images_002").mkdir()
    (release / "images_002" / "00000002_000.png").touch()
    found = read_release("nih", open_files(release), SourceOptions())
    assert [record.source_path for record in found.records] == ["images_001/images/00000002_000.png"]
    reasons = {row.source_path.split("/")[-1]: (row.reason, row.message) for row in found.rejected}
    assert reasons["00000001_000.png"] == ("bad-row", "line 2: unknown finding 'Efusion'")
    assert reasons["00000001_001.png"] == ("bad-row", "line 3 has 3 fields, the header 11")
    assert reasons["00000002_000.png"][0] == "duplicate"
    assert reasons["00009999_000.png"][0] == "no-row"


def test_the_folder_around_the_release_serves_too(release):
    (release / "around").mkdir()
    for path in list(release.iterdir()):
        if path.name != "around":
            path.rename(release / "around" / path.name)
    files = open_files(release)
    found = read_release("nih", files, SourceOptions())
    assert len(found.records) == 3
    assert all(files.has(record.name) for record in found.records)
    assert found.records[0].source_path == "images_001/images/00000001_000.png"


@pytest.mark.slow
def test_the_real_lists():
    """Its release states 112,120 images of 30,805 patients, and 984 boxes in 880 of them; which images are for testing
    is in lists that are not at hand, so here all are for training."""
    entries, drawn = real_list("Data_Entry_2017_v2020.csv.gz"), real_list("BBox_List_2017.csv.gz")
    rows = csv.DictReader(io.TextIOWrapper(io.BytesIO(gzip.decompress(entries)), encoding="utf-8"))
    names = [row["Image Index"] for row in rows]
    lists = {"Data_Entry_2017_v2020.csv.gz": entries, f"{BOX_LIST}.gz": drawn, "test_list.txt": b""}
    lists |= {"train_val_list.txt": "\n".join(names).encode()}
    found = read_release("nih", ListedFiles(lists, [f"images/{name}" for name in names]), SourceOptions())
    assert (len(found.records), len(found.rejected), found.notes) == (112_120, 0, [])
    assert len({record.patient_id for record in found.records}) == 30_805
    present = Counter(label for record in found.records for label, value in record.labels.items() if value == 1)
    assert (present["Infiltration"], present["Effusion"], present["Hernia"]) == (19_894, 13_317, 227)
    assert sum(not any(record.labels.values()) for record in found.records) == 60_361
    boxes = [record.boxes for record in found.records if record.boxes]
    assert (len(boxes), sum(map(len, boxes))) == (880, 984)
