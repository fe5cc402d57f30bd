import json

import pytest

from shards.base.errors import InputError
from shards.format.blank import UNKNOWN
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from shards.sources.reports.chexpert import LABELS
from tests.shards.sources.listed_files import ListedFiles

HEADER = (
    "path_to_image,frontal_lateral,ap_pa,deid_patient_id,section_clinical_history,section_history,section_findings,"
    "age,sex,race,insurance_type,split"
)
ROWS = [
    'train/patient1/study1/view1_frontal.jpg,Frontal,AP,patient1,"55 years old,\nfever",,"Lungs\nclear.",'
    "55,Male,Asian,Medicare,train",
    "train/patient1/study1/view2_lateral.jpg,Lateral,,patient1,,cough,,55,Male,Asian,,train",
    "valid/patient2/study1/view1_frontal.jpg,Frontal,PA,patient2,,,,,Unknown,,,valid",
    "train/patient3/study1/view1_frontal.jpg,Frontal,PA,patient3,,,,40,Female,White,Medicaid,train",
    "patient4.jpg,Frontal,PA,patient4,,,,40,Female,White,Medicaid,train",
]
LABELLED = [
    {"path_to_image": "train/patient1/study1/view1_frontal.jpg", "Edema": 1.0, "Fracture": None, "Pneumonia": -1.0},
    {"path_to_image": "train/patient1/study1/view2_lateral.jpg", "Edema": 0.0},
]
IMAGES = [f"PNG/{path.split(',')[0][:-4]}.png" for path in ROWS[:3]]


def files(labels=None):
    lines = "\n".join(json.dumps(one) for one in (LABELLED if labels is None else labels))
    lists = {"df_chexpert_plus_240401.csv": "\n".join([HEADER, *ROWS]), "chexbert_labels/report_fixed.json": lines}
    return ListedFiles({name: text.encode() for name, text in lists.items()}, IMAGES)


def test_reports_demographics_and_labels():
    found = read_release("chexpert-plus", files(), SourceOptions(keep_columns=("race", "insurance_type")))
    first, second, third = found.records
    assert (first.name, first.split, first.patient_id) == (IMAGES[0], "train", "patient1")
    assert (first.labels, first.indication, first.findings) == (
        {"Edema": 1, "Pneumonia": -1},
        "55 years old, fever",
        "Lungs clear.",
    )
    assert (first.kept, first.age, first.sex) == ({"race": "Asian", "insurance_type": "Medicare"}, 55, "M")
    assert (second.view, second.indication, second.kept) == ("lateral", "cough", {"race": "Asian"})
    assert (third.labels, third.sex, third.split) == (dict.fromkeys(LABELS, UNKNOWN), None, "valid")
    assert [one.reason for one in found.rejected] == ["bad-row"]
    assert found.notes == [
        "labels are those of chexbert_labels/report_fixed.json",
        "1 images have no labels there: unlabelled",
        "1 listed images are not in this copy",
    ]


@pytest.mark.parametrize("label", [{"Edema": 1}, {"path_to_image": "a.jpg", "Edema": 7}, []])
def test_labels_that_cannot_be_read(label):
    with pytest.raises(InputError, match="report_fixed.json, line 1"):
        read_release("chexpert-plus", files([label]), SourceOptions())


def test_without_labels():
    lone = ListedFiles({"df_chexpert_plus_240401.csv": b"path_to_image"})
    with pytest.raises(InputError, match="none of report_fixed.json"):
        read_release("chexpert-plus", lone, SourceOptions())
