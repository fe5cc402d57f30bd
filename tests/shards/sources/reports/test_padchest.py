import csv
import gzip
import io

import pytest

from shards.format.blank import UNKNOWN
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.sources.listed_files import ListedFiles, real_list

NAME = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,MethodLabel,"
    "Report,Labels"
)
ROWS = [
    "0,a_1.png,0,20140915,s1,p1,1930.0,F,PA,Physician, sin hallazg .,['normal']",
    "1,a_2.png,0,20140915,s1,p1,1930.0,F,L,Physician, sin hallazg .,\"['normal', ' pneumonia', '', 'COPD signs']\"",
    "2,b.png,1,20170101,s2,p2,,O,AP_horizontal,RNN_model,,nan",
    '3,c.png,1,20170101,s3,p3,2016.0,M,COSTAL,RNN_model,"two\nlines","[\'pneumonia\']"',
    "4,d.png,1,20170101,s4,,2016.0,M,EXCLUDE,RNN_model,x,\"['exclude']\"",
]
IMAGES = ["images/0/a_1.png", "images/0/a_2.png", "images/1/b.png", "images/1/c.png", "images/1/extra.png"]


@pytest.fixture
def release():
    text = "\n".join([HEADER, *ROWS]) + "\n"
    found = read_release("padchest", ListedFiles({NAME: text.encode()}, IMAGES), SourceOptions())
    return found, {record.key: record for record in found.records}


def test_labels_are_lists_in_text(release):
    found, records = release
    assert found.labels == ("COPD signs", "exclude", "normal", "pneumonia")
    assert records["a_2"].labels == {"normal": 1, "pneumonia": 1, "COPD signs": 1}
    assert records["b"].labels == dict.fromkeys(found.labels, UNKNOWN), "nan is no list of nothing"
    assert found.blanks["pneumonia"] == "absent"


def test_what_is_known_of_an_image(release):
    _, records = release
    one = records["a_1"]
    assert (one.view, one.projection, one.sex, one.age) == ("frontal", "PA", "F", 84)
    assert (one.patient_id, one.study_id, one.findings) == ("p1", "s1", "sin hallazg .")
    assert records["a_2"].study_id == "s1", "several files a study"
    assert (records["a_2"].view, records["b"].view, records["b"].sex, records["b"].age) == (
        "lateral",
        "frontal",
        None,
        None,
    )
    assert records["c"].view is None, "of the ribs"


def test_what_cannot_be_packed_is_told(release):
    found, _ = release
    assert [(one.source_path, one.reason) for one in found.rejected] == [
        ("d.png", "bad-row"),
        ("images/1/extra.png", "no-row"),
    ]


def test_columns_to_keep():
    files = ListedFiles({NAME: "\n".join([HEADER, *ROWS]).encode()}, IMAGES)
    found = read_release("padchest", files, SourceOptions(keep_columns=("MethodLabel",)))
    assert found.kept == ("MethodLabel",)
    assert [record.kept["MethodLabel"] for record in found.records] == ["Physician"] * 2 + ["RNN_model"] * 2


@pytest.mark.slow
def test_the_real_list():
    """Its release states 160,868 images of 67,625 patients in 109,931 studies; the list of 2019 names 160,861."""
    data = real_list(f"{NAME}.gz")
    rows = csv.DictReader(io.TextIOWrapper(io.BytesIO(gzip.decompress(data)), encoding="utf-8"))
    files = ListedFiles({f"{NAME}.gz": data}, [f"{row['ImageDir']}/{row['ImageID']}" for row in rows])
    found = read_release("padchest", files, SourceOptions())
    records = found.records
    assert (len(records), len(found.rejected)) == (160_861, 0)
    assert len({record.patient_id for record in records}) == 67_625
    assert len({record.study_id for record in records}) == 109_931
    assert len(found.labels) == 193
    views = [record.view for record in records]
    assert (views.count("frontal"), views.count("lateral"), views.count(None)) == (110_633, 49_579, 649)
    assert sum(record.labels.get("normal") == UNKNOWN for record in records) == 880, "103 hold nan, the others ['']"
