from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from shards.sources.reports.chexpert import LABELS
from tests.shards.sources.listed_files import ListedFiles

HEADER = ",".join(
    ["DicomPath", "PngPath", "PatientID", "PatientSex", "PatientAge", "AccessionNumber", "StudyDate", *LABELS]
    + ["ViewPosition", "Rows", "Columns", "Manufacturer"]
)


def row(name, *, age="60", view="PA", effusion="", sides=(2000, 1800), patient="id_1"):
    labels = ["" if label != "Pleural Effusion" else effusion for label in LABELS]
    path = f"images/{patient}/Study_1/Series_1/{name}.png"
    return ",".join(
        [f"x/{name}.dcm", path, patient, "F", age, "Study_1.1", "2010", *labels, view, *map(str, sides), "GE"]
    )


def test_a_row_an_image():
    rows = [HEADER, row("a", effusion="1.0"), row("b", age="85 or more", view="", effusion="-1")]
    rows += [row("strip", sides=(2000, 90)), row("c", effusion="often"), row("d", patient=""), row("e", view="L")]
    files = ListedFiles({"master_spreadsheet_update.csv": "\n".join(rows).encode()})
    found = read_release("brax", files, SourceOptions(keep_columns=("Manufacturer",)))
    first, second, third = found.records
    assert (first.labels, first.view, first.sex, first.age) == ({"Pleural Effusion": 1}, "frontal", "F", 60)
    assert (second.labels, second.view, second.age) == ({"Pleural Effusion": -1}, None, 85)
    assert (third.view, third.study_id, third.kept) == ("lateral", "Study_1.1", {"Manufacturer": "GE"})
    assert [(one.reason, one.source_path[-9:]) for one in found.rejected] == [
        ("bad-shape", "strip.png"),
        ("bad-row", "s_1/c.png"),
        ("bad-row", "s_1/d.png"),
    ]
    assert found.blanks["Edema"] == "absent"
