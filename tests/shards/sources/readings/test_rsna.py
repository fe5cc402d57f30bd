import csv
import io
import json
import zipfile

import numpy as np
import pytest

from shards.base.errors import InputError
from shards.format.boxes import Box
from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.readings.rsna import CLASSES, PATIENTS
from shards.sources.registry import read_release
from tests.shards.dicom_files import dicom_bytes
from tests.shards.sources.listed_files import ListedFiles, real_list

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)
ROWS = """patientId,x,y,width,height,Target
a,,,,,0
b,10,20,30,40,1
b,100.0,20.0,30.0,40.0,1
c,,,,,0
d,,,,,1
e,1,2,3,4,0
"""
KINDS = "patientId,class\na,Normal\nb,Lung Opacity\nb,Lung Opacity\nc,No Lung Opacity / Not Normal\ne,Normal\n"
IMAGES = [f"stage_2_train_images/{name}.png" for name in "abcde"] + ["stage_2_test_images/t.png"]


def read(images=IMAGES, **contents):
    lists = {"stage_2_train_labels.csv": ROWS} | contents
    return read_release(
        "rsna", ListedFiles({name: text.encode() for name, text in lists.items()}, images), SourceOptions()
    )


def test_rows_per_box_and_three_classes():
    found = read(**{CLASSES: KINDS})
    a, b, c = found.records
    assert a.labels == {"Lung Opacity": 0, "No Lung Opacity / Not Normal": 0, "Normal": 1}
    assert b.boxes == (Box("Lung Opacity", 10, 20, 30, 40), Box("Lung Opacity", 100, 20, 30, 40))
    assert (b.box_frame, b.labels["Lung Opacity"], a.boxes) == ((1024, 1024), 1, ())
    assert c.labels == {"Lung Opacity": 0, "No Lung Opacity / Not Normal": 1, "Normal": 0}
    assert [(one.source_path, one.reason) for one in found.rejected] == [("d", "bad-row"), ("e", "bad-row")]
    assert any(note.startswith("1 images have no list of labels") for note in found.notes)


def test_a_class_that_contradicts_its_row_is_refused():
    found = read(**{CLASSES: KINDS.replace("a,Normal", "a,Lung Opacity")})
    assert found.rejected[0].message == "Target is 0, but its class is 'Lung Opacity'"


def test_patients_are_those_of_the_mapping():
    mapping = [
        {"subset_img_id": "a", "img_id": "00000013_002.png"},
        {"subset_img_id": "b", "img_id": "00000013_004.png"},
    ]
    found = read(**{PATIENTS: json.dumps(mapping)})
    assert [(one.patient_id, one.is_patient_known) for one in found.records] == [
        ("13", True),
        ("13", True),
        ("c", False),
    ]
    assert found.labels == ("Lung Opacity",)
    with pytest.raises(InputError, match="cannot be read as the challenge's mapping"):
        read(**{PATIENTS: '[{"img": 1}]'})


def test_view_sex_and_age_are_in_the_headers(tmp_path):
    (tmp_path / "stage_2_train_labels.csv").write_text(ROWS)
    (tmp_path / "stage_2_train_images").mkdir()
    tags = {"PatientID": "a", "PatientSex": "F", "PatientAge": "043Y", "ViewPosition": "AP"}
    (tmp_path / "stage_2_train_images" / "a.dcm").write_bytes(dicom_bytes(PIXELS, **tags))
    (one,) = read_release("rsna", open_files(tmp_path), SourceOptions()).records
    assert (one.projection, one.sex, one.age, one.is_patient_known) == ("AP", "F", 43, False)


@pytest.mark.slow
def test_the_real_list():
    """Its release states 26,684 images, 6,012 of them with 9,555 boxes."""
    with zipfile.ZipFile(io.BytesIO(real_list("kaggle_stage_2_train_labels.csv.zip"))) as archive:
        text = archive.read("stage_2_train_labels.csv").decode()
    images = [f"{row['patientId']}.png" for row in csv.DictReader(io.StringIO(text))]
    found = read(images, **{"stage_2_train_labels.csv": text})
    assert (len(found.records), len(found.rejected)) == (26_684, 0)
    assert sum(len(record.boxes) for record in found.records) == 9_555
    assert sum(record.labels["Lung Opacity"] for record in found.records) == 6_012
