import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shards.base.errors import InputError
from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.dicom_files import dicom_bytes, report_bytes

CSV = """\ufeffimage,patient,exam,fold,view,sex,age,Effusion,Edema,findings,why
images/a.png,p1,e1,train,PA,F,058Y,1,,Mass|Nodule,cough
.\\images\\b.png,p1,e1,val,Lateral,Male,40,-1,no,,fever
images/c.png,p2,e2,test,,,,0.0,Yes,Mass,
"""
MAPPED = {
    "path_column": "image",
    "patient_column": "patient",
    "study_column": "exam",
    "split_column": "fold",
    "view_column": "view",
    "sex_column": "sex",
    "age_column": "age",
    "label_columns": ("Effusion", "Edema"),
    "label_list_column": "findings",
    "indication_column": "why",
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "in" / "images").mkdir(parents=True)
    for name in "abcd":
        (tmp_path / "in" / "images" / f"{name}.png").touch()
    (tmp_path / "in" / "list.csv").write_text(CSV, encoding="utf-8")
    return tmp_path / "in"


def read(root, **options):
    defaults = {"csv": "list.csv"} | MAPPED
    options = defaults | options
    return read_release("table", open_files(root), SourceOptions(**(options | {"csv": Path(options["csv"])})))


def test_columns_are_mapped_by_flags(root):
    found = read(root)
    assert found.labels == ("Effusion", "Edema", "Mass", "Nodule")
    first, second, third = found.records
    assert (first.name, first.patient_id, first.study_id, first.split) == ("images/a.png", "p1", "e1", "train")
    assert (first.view, first.projection, first.sex, first.age) == ("frontal", "PA", "F", 58)
    assert first.labels == {"Effusion": 1, "Mass": 1, "Nodule": 1}
    assert first.indication == "cough"
    assert (second.name, second.split, second.view, second.sex) == ("images/b.png", "valid", "lateral", "M")
    assert second.labels == {"Effusion": -1, "Edema": 0}, "a blank cell does not say that all is absent"
    assert third.labels == {"Effusion": 0, "Edema": 1, "Mass": 1, "Nodule": 0}
    assert found.notes == ["1 images are not in list.csv and were left out, such as images/d.png"]


PADCHEST = """,ImageID,PatientID,Projection,Labels
0,a.png,1,PA,"['pleural effusion ', 'NSG tube']"
1,b.png,1,L,[]
2,c.png,2,AP_horizontal,
"""


@pytest.mark.parametrize(("encoding", "named"), [("utf-8", None), ("utf-16", None), ("latin-1", "latin-1")])
def test_python_lists_as_labels(root, encoding, named):
    (root / "list.csv").write_bytes(PADCHEST.replace("NSG tube", "sonda ni\xf1o").encode(encoding))
    options = SourceOptions(
        csv=Path("list.csv"),
        path_column="ImageID",
        path_template="images/{}",
        view_column="Projection",
        label_list_column="Labels",
        label_separator=",",
        encoding=named,
    )
    found = read_release("table", open_files(root), options)
    assert found.labels == ("pleural effusion", "sonda ni\xf1o")
    assert [record.labels for record in found.records] == [
        dict.fromkeys(found.labels, 1),
        dict.fromkeys(found.labels, 0),
        {},
    ]
    assert [record.view for record in found.records] == ["frontal", "lateral", "frontal"]


def test_accents_are_the_same_however_the_disk_writes_them(root):
    (root / unicodedata.normalize("NFD", "ni\xf1o.png")).touch()
    (root / "list.csv").write_text("file\nni\xf1o.png\n", encoding="utf-8")
    files = open_files(root)
    (record,) = read_release("table", files, SourceOptions(csv=Path("list.csv"), path_column="file")).records
    assert files.has(record.name)
    assert record.source_path == "ni\xf1o.png"


def test_a_header_alone_is_named(root):
    (root / "list.csv").write_text(CSV.splitlines()[0])
    with pytest.raises(InputError, match=r"--csv list\.csv: holds a header and no row"):
        read(root)


def test_a_template_and_a_list_elsewhere(root):
    elsewhere = root.parent / "names.tsv"
    elsewhere.write_text("id\tlabel\na\t1\nb\t0\n")
    options = SourceOptions(csv=elsewhere, path_column="id", path_template="images/{}.png", label_columns=("label",))
    found = read_release("table", open_files(root), options)
    assert [(record.name, record.labels) for record in found.records] == [
        ("images/a.png", {"label": 1}),
        ("images/b.png", {"label": 0}),
    ]
    assert len({record.patient_id for record in found.records}) == 2
    assert {record.split for record in found.records} == {"train"}


def test_rows_that_cannot_be_read_are_rejected(root):
    (root / "list.csv").write_text(
        CSV + "/etc/passwd,,,train,,,,,,,\n../x.png,,,train,,,,,,,\nimages/d.png,,,train,,,,often,,,\n"
        "images/e.png,,,holdout,,,,,,,\nimages/f.png,p\n,,,train,,,,,,,\nimages/a.png,p9,e1,train,PA,F,58,1,,,\n",
        encoding="utf-8",
    )
    found = read(root)
    assert [record.name for record in found.records] == ["images/b.png", "images/c.png"]
    assert [(row.source_path, row.reason) for row in found.rejected] == [
        ("images/d.png", "bad-row"),
        ("images/e.png", "bad-row"),
        ("images/f.png", "bad-row"),
        ("list.csv:10", "bad-row"),
        ("images/a.png", "duplicate"),
        ("/etc/passwd", "bad-path"),
        ("../x.png", "bad-path"),
    ]
    assert "Effusion is 'often'; expected 1, 0, -1 or nothing" in found.rejected[0].message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"csv": "none.csv"}, "--csv none.csv: no such file"),
        ({"age_column": "years"}, "--age-column years: list.csv has no such column; it has 'image', 'patient'"),
        ({"path_column": None}, "give --csv and --path-column"),
        ({"path_template": "images/x.png"}, r"--path-template images/x.png: must hold \{\} once"),
        (
            {"label_columns": ("Effusion", "Edma")},
            "--label-columns Edma: list.csv .*; did you mean Edema. ",
        ),
        ({"label_separator": ""}, "--label-separator"),
        ({"label_columns": ("Edema", "Edema")}, "--label-columns Edema: is given twice"),
        ({"encoding": "cp99"}, "--encoding cp99: unknown"),
    ],
)
def test_wrong_options_are_named(root, options, message):
    with pytest.raises(InputError, match=message):
        read(root, **options)


def test_options_of_another_source_are_refused(root):
    with pytest.raises(InputError, match="--path-column: --source folder does not read it"):
        read_release("folder", open_files(root), SourceOptions(path_column="image"))


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00\x00\x01", b"\x1f\x8b\x08\x00broken"])
def test_what_is_no_list(root, data):
    name = "list.csv.gz" if data.startswith(b"\x1f") else "list.csv"
    (root / name).write_bytes(data)
    with pytest.raises(InputError, match=rf"{name}.*(missing|cannot be read)"):
        read(root, csv=name)


def test_words_of_ones_own(root):
    (root / "list.csv").write_text("file,Edema,Seen\nimages/a.png,Ja,x\nimages/b.png,nein,keine\nimages/c.png,,Mass\n")
    options = SourceOptions(
        csv=Path("list.csv"),
        path_column="file",
        label_columns=("Edema",),
        label_list_column="Seen",
        positive_words=("ja",),
        negative_words=("Nein", "keine"),
    )
    found = read_release("table", open_files(root), options)
    assert [record.labels for record in found.records] == [
        {"Edema": 1, "Mass": 0, "x": 1},
        {"Edema": 0, "Mass": 0, "x": 0},
        {"Mass": 1, "x": 0},
    ]
    with pytest.raises(InputError, match="--positive-words ja: is a negative word too"):
        read_release("table", open_files(root), replace(options, negative_words=("JA",)))


ROWS = """file,who,Edema,Seen
images/a.png,p,1,No finding
images/a.png,p,0,Mass
images/a.png,p,-1,Nodule
images/b.png,p,,
images/b.png,p,0,
images/c.png,q,1,Mass
images/c.png,q,1,Mass
images/d.png,q,1,Mass
images/d.png,r,1,Mass
"""


def test_several_rows_of_an_image(root):
    (root / "list.csv").write_text(ROWS)
    options = SourceOptions(
        csv=Path("list.csv"),
        path_column="file",
        patient_column="who",
        label_columns=("Edema",),
        label_list_column="Seen",
    )
    found = read_release("table", open_files(root), options)
    assert [record.name for record in found.records] == ["images/c.png"]
    messages = {row.source_path: row.message for row in found.rejected}
    assert messages["images/a.png"].startswith(
        "listed in 3 rows with different values (Edema is 1 and 0); --rows union"
    )
    assert messages["images/b.png"].startswith("listed in 2 rows with different values (Edema is blank and 0)")
    assert messages["images/d.png"].startswith("listed in 2 rows with different values (patient_id is q and r)")
    assert found.notes == ["1 rows repeat another word for word and were left out"]

    found = read_release("table", open_files(root), replace(options, rows="union"))
    labels = {record.name: dict(record.labels) for record in found.records}
    assert labels == {
        "images/a.png": {"Edema": 1, "Mass": 1, "No finding": 1, "Nodule": 1},
        "images/b.png": {"Edema": 0},
        "images/c.png": {"Edema": 1, "Mass": 1, "No finding": 0, "Nodule": 0},
    }
    assert [row.source_path for row in found.rejected] == ["images/d.png"]
    assert found.notes == [
        "1 rows repeat another word for word and were left out",
        "2 images have several rows, whose findings were united",
    ]


def test_what_the_list_has_no_column_for_is_read_from_dicom_headers(root):
    pixels = np.zeros((16, 16), np.uint8)
    tags = {"PatientSex": "F", "PatientAge": "027Y", "ViewPosition": "LL"}
    for name, data in {
        "a.dcm": dicom_bytes(pixels, **tags),
        "b": dicom_bytes(pixels, **tags | {"PatientID": "", "ViewPosition": "PA"}),
        "ct.dcm": dicom_bytes(pixels, Modality="CT"),
        "sr": report_bytes(),
        "text": b"no DICOM",
        "c.png": b"a picture",
    }.items():
        (root / name).write_bytes(data)
    (root / "list.csv").write_text("file,sex,Edema\na.dcm,M,1\nb,,0\nct.dcm,,\nsr,,1\ntext,,\nc.png,F,\ngone.dcm,,\n")
    options = SourceOptions(csv=Path("list.csv"), path_column="file", label_columns=("Edema",), sex_column="sex")
    found = read_release("table", open_files(root), options)
    first, second, *others = found.records
    assert (first.patient_id, first.study_id, first.is_patient_known) == ("MRN-0001", "1.2.826.0.1.77", True)
    assert (first.view, first.projection, first.sex, first.age) == ("lateral", "LL", "M", 27)
    assert (second.patient_id, second.view, second.sex, second.is_patient_known) == ("b", "frontal", None, False)
    assert [(record.name, record.view, record.is_patient_known) for record in others] == [
        ("text", None, False),
        ("c.png", None, False),
        ("gone.dcm", None, False),
    ]
    assert {row.source_path: row.reason for row in found.rejected} == {"ct.dcm": "other-modality", "sr": "no-pixels"}
    named = replace(options, patient_column="file", view_column="sex", age_column="sex")
    (first, *_) = read_release("table", open_files(root), named).records
    assert (first.patient_id, first.view, first.age, first.study_id) == ("a.dcm", None, None, "1.2.826.0.1.77")


@pytest.mark.parametrize("nobody", ["nan", "None", "N/A", "unknown", "-"])
def test_words_for_no_patient_do_not_make_one_of_many(root, nobody):
    (root / "list.csv").write_text(f"image,p,e\nimages/a.png,{nobody},{nobody}\nimages/b.png,{nobody},{nobody}\n")
    columns = {"path_column": "image", "patient_column": "p", "study_column": "e"}
    found = read_release("table", open_files(root), SourceOptions(csv=Path("list.csv"), **columns)).records
    assert [record.is_patient_known for record in found] == [False, False]
    assert len({record.patient_id for record in found}) == len({record.study_id for record in found}) == 2


def test_a_number_is_one_patient_however_a_spreadsheet_writes_it(root):
    (root / "list.csv").write_text("image,p\nimages/a.png,123.0\nimages/b.png,123\n")
    options = SourceOptions(csv=Path("list.csv"), path_column="image", patient_column="p")
    assert {record.patient_id for record in read_release("table", open_files(root), options).records} == {"123"}


def test_findings_that_are_joined_by_another_sign_are_told(root):
    (root / "list.csv").write_text("image,f\nimages/a.png,Mass;Edema\nimages/b.png,Mass\nimages/c.png,Mass/nodule\n")
    columns = {"csv": Path("list.csv"), "path_column": "image", "label_list_column": "f"}
    notes = read_release("table", open_files(root), SourceOptions(**columns)).notes
    assert any("'Mass/nodule' looks like 2" in note or "'Mass;Edema' looks like 2" in note for note in notes)
    notes = read_release("table", open_files(root), SourceOptions(**columns, label_separator=";")).notes
    assert not any("Mass;Edema" in note for note in notes)


def test_a_column_that_names_no_image_is_refused(root):
    with pytest.raises(InputError) as caught:
        read_release("table", open_files(root), SourceOptions(csv=Path("list.csv"), path_column="exam"))
    assert str(caught.value) == (
        f"--path-column exam: none of the 2 images that it names is in --input {root}: there is no such file as 'e1'; "
        "it names them relative to --input; check both, and --path-template"
    )
    assert "e1" not in caught.value.bare
