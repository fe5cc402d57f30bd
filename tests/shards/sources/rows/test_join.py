from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from shards.base.errors import InputError
from shards.checks.verify import verify_dataset
from shards.format.blank import UNKNOWN
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.dicom_files import dicom_bytes

PIXELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.fixture
def root(tmp_path):
    """Two studies of one patient, of two images and of one, and one without an accession number."""
    for name, accession, study, series, sop in (
        ("P0/S0/I0.dcm", "0012", "1.1", "1.1.1", "1.1.1.1"),
        ("P0/S0/I1.dcm", "0012", "1.1", "1.1.2", "1.1.2.1"),
        ("P0/S1/I0.dcm", "0013", "1.2", "1.2.1", "1.2.1.1"),
        ("P1/S0/I2.dcm", "", "1.3", "1.3.1", "1.3.1.1"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tags = {"PatientID": name[:2], "AccessionNumber": accession, "StudyInstanceUID": study}
        path.write_bytes(dicom_bytes(PIXELS, **tags, SeriesInstanceUID=series, SOPInstanceUID=sop))
    return tmp_path


def read(root, text, **options):
    (root / "labels.csv").write_text(text)
    settings = {"csv": Path("labels.csv"), "label_columns": ("Edema",)} | options
    return read_release("dicom", open_files(root), SourceOptions(**settings))


def edema(found):
    return {record.name: record.labels.get("Edema") for record in found.records}


@pytest.mark.parametrize(
    ("by", "header", "keys"),
    [
        ("accession", "Accession Number", ("0012", "0013")),
        ("study", "study_instance_uid", ("1.1", "1.2")),
        ("series", "SeriesUID", ("1.1.1", "1.2.1")),
        ("sop", "SOPInstanceUID", ("1.1.1.1", "1.2.1.1")),
        ("path", "File", (r".\\P0\\S0\\I0.dcm", "P0/S1/I0.dcm")),
        ("path", "path", ("/mnt/export/P0/S0/I0.dcm", "export/P0/S1/I0.dcm")),
    ],
)
def test_rows_are_joined_by_what_both_hold(root, by, header, keys):
    text = f"{header},Edema\n{keys[0]},1\n{keys[1]},0\n9999,1\n"
    found = read(root, text, join=by)
    by_study = by in ("accession", "study")
    assert edema(found) == {
        "P0/S0/I0.dcm": 1,
        "P0/S0/I1.dcm": 1 if by_study else UNKNOWN,
        "P0/S1/I0.dcm": 0,
        "P1/S0/I2.dcm": UNKNOWN,
    }
    assert found.labels == ("Edema",)
    assert found.blanks == {"Edema": "unknown"}
    joined, alone, left = found.notes[-3:]
    assert joined.startswith(f"{3 if by_study else 2} of 4 images are joined by {by} to 2 of 3 rows of labels.csv")
    assert alone.startswith(f"{1 if by_study else 2} images have no row and are unlabelled, such as P")
    assert left == "1 rows match no image, such as line 4 ('9999')"


def test_file_names_alone_are_joined_where_they_are_no_two_images(root):
    found = read(root, "file,Edema\nI0.dcm,1\nI1.dcm,1\nI2.dcm,0\n", join="path")
    assert edema(found) == {
        "P0/S0/I0.dcm": UNKNOWN,
        "P0/S0/I1.dcm": 1,
        "P0/S1/I0.dcm": UNKNOWN,
        "P1/S0/I2.dcm": 0,
    }


def test_a_list_can_say_more_than_labels(root):
    text = "acc;id;fold;view;sex;age;report\n0012;A;test;Chest PA;F;40;cough\n0013;;train;;;;\n"
    columns = {"patient_column": "id", "split_column": "fold", "view_column": "view", "sex_column": "sex"}
    found = read(
        root, text, join="accession", label_columns=(), age_column="age", indication_column="report", **columns
    )
    by_name = {record.name: record for record in found.records}
    first, third, last = by_name["P0/S0/I0.dcm"], by_name["P0/S1/I0.dcm"], by_name["P1/S0/I2.dcm"]
    assert (first.patient_id, first.split, first.projection, first.sex, first.age) == ("A", "test", "PA", "F", 40)
    assert (first.study_id, first.indication) == ("1.1", "cough")
    assert (third.patient_id, third.split, third.indication) == ("P0", "train", None)
    assert (last.patient_id, last.split) == ("P1", "train")


def test_rows_that_differ_or_cannot_be_read_refuse_their_images(root):
    text = "accession,Edema\n0012,1\n0012,0\n0013,vielleicht\n"
    (root / "P1" / "S0" / "I2.dcm").unlink()
    with pytest.raises(InputError, match=r"no images.*listed in 2 rows with different values \(Edema is 1 and 0\)"):
        read(root, text, join="accession")
    found = read(root, text, join="accession", rows="union")
    assert edema(found) == {"P0/S0/I0.dcm": 1, "P0/S0/I1.dcm": 1}
    (refused,) = found.rejected
    assert (refused.source_path, refused.reason) == ("P0/S1/I0.dcm", "bad-row")
    assert refused.message.startswith("its row in labels.csv: line 4: Edema is 'vielleicht'; expected 1, 0, -1")


def test_blanks_of_rows_follow_the_rule_and_images_without_a_row_do_not(root):
    found = read(root, "accession,Edema\n0012,\n0013,1\n", join="accession", blank="absent")
    assert edema(found) == {"P0/S0/I0.dcm": None, "P0/S0/I1.dcm": None, "P0/S1/I0.dcm": 1, "P1/S0/I2.dcm": UNKNOWN}
    assert found.blanks == {"Edema": "absent"}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("accession,Edema\n12,1\n", {"join": "accession"}, r"no row.*holds '12' .* images '0012'; 2 would without"),
        ("accession,Edema\nx,1\n", {"join": "accession"}, "--join accession: no row of labels.csv matches an image"),
        ("nr,Edema\n12,1\n", {"join": "accession"}, "no column of labels.csv is called AccessionNumber.*--join-column"),
        ("nr,Edema\n12,1\n", {"join": "sop", "join_column": "uid"}, "--join-column uid: labels.csv has no such column"),
        ("accession,Edema\n12,1\n", {}, "--csv: a list of labels needs both --csv and --join"),
        ("accession,Edema\n12,1\n", {"csv": None, "join": "study"}, "--join: a list of labels needs both"),
        (
            "accession,Mass\n12,1\n",
            {"join": "accession"},
            "--label-columns Edema: labels.csv has no such column; it has 'acc",
        ),
    ],
)
def test_what_cannot_be_joined_is_named(root, text, options, message):
    with pytest.raises(InputError, match=message):
        read(root, text, **options)


def test_a_column_of_another_name(root):
    found = read(root, "Auftrag,Edema\n0012,ja\n", join="accession", join_column="Auftrag", positive_words=("ja",))
    assert edema(found)["P0/S0/I1.dcm"] == 1
    with pytest.raises(InputError, match="--join: --source folder does not read it"):
        read_release("folder", open_files(root), replace(SourceOptions(), join="sop"))


def test_a_build_of_it_is_whole_and_holds_nothing_that_was_joined_by(root, tmp_path_factory):
    (root / "labels.csv").write_text("accession,Edema\n0012,1\n0013,0\n")
    output = tmp_path_factory.mktemp("built") / "out"
    options = SourceOptions(csv=Path("labels.csv"), join="accession", label_columns=("Edema",), blank="absent")
    config = BuildConfig(source="dicom", input=root, output=output, workers=1, source_options=options)
    totals = build_dataset(config)
    assert not any("no DICOM" in note for note in totals.notes), "the list is no stranger"
    assert not verify_dataset(output, workers=1).damages
    index = ShardIndex.open(output)
    by_path = dict(zip(index.column("source_path"), index.labels("Edema"), strict=True))
    assert np.isnan(by_path.pop("P1/S0/I2.dcm"))
    assert by_path == {"P0/S0/I0.dcm": 1, "P0/S0/I1.dcm": 1, "P0/S1/I0.dcm": 0}
    assert "0013" not in str(pq.read_table(output / "index.parquet").to_pydict())


def test_a_number_of_several_patients_joins_nobody(root):
    for name, patient in (("A/a.dcm", "P7"), ("B/b.dcm", "P8")):
        (root / name).parent.mkdir()
        (root / name).write_bytes(dicom_bytes(PIXELS, PatientID=patient, AccessionNumber="0"))
    found = read(root, "accession,Edema\n0,1\n0012,1\n", join="accession")
    assert edema(found)["P0/S0/I0.dcm"] == edema(found)["P0/S0/I1.dcm"] == 1
    assert {row.source_path for row in found.rejected} == {"A/a.dcm", "B/b.dcm"}
    assert "its AccessionNumber is that of 2 patients" in found.rejected[0].message
