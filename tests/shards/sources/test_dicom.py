import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydicom.uid import JPEG2000Lossless

from shards.packing.build import BuildConfig, build_dataset
from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.dicom_files import PLANTED, dicom_bytes, dicom_dataset, report_bytes

PIXELS = np.random.default_rng(0).integers(0, 4096, (48, 64)).astype(np.uint16)


@pytest.fixture
def tree(tmp_path):
    """An archive's export: names without suffix, a directory file, a report, another device's image, a text."""
    images = {
        "PAT0/ST0/IM0": dicom_bytes(PIXELS, bits=12, PatientSex="F", PatientAge="027Y", ViewPosition="PA"),
        "PAT0/ST0/IM1.dcm": dicom_bytes(PIXELS, bits=12, PatientSex="F", PatientAge="027Y", ViewPosition="LL"),
        "PAT1/ST0/IM0.DCM": dicom_bytes(PIXELS, bits=12, syntax=JPEG2000Lossless, PatientID="MRN-0002"),
        "PAT2/SR.dcm": report_bytes(),
        "PAT2/CT.dcm": dicom_bytes(PIXELS, bits=12, Modality="CT"),
        "PAT2/no.dcm": b"not a DICOM file",
        "PAT2/cut.dcm": dicom_bytes(PIXELS, bits=12)[:-1000],
        "DICOMDIR": dicom_bytes(PIXELS, bits=12),
        "readme.txt": b"text",
    }
    for name, data in images.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    return tmp_path / "tree"


def test_headers_give_the_listed_columns(tree):
    found = read_release("dicom", open_files(tree), SourceOptions())
    by_path = {record.source_path: record for record in found.records}
    assert sorted(by_path) == ["PAT0/ST0/IM0", "PAT0/ST0/IM1.dcm", "PAT1/ST0/IM0.DCM", "PAT2/cut.dcm"]
    first = by_path["PAT0/ST0/IM0"]
    assert (first.patient_id, first.study_id, first.sex, first.age) == ("MRN-0001", "1.2.826.0.1.77", "F", 27)
    assert (first.view, first.projection, first.split, dict(first.labels)) == ("frontal", "PA", "train", {})
    assert (by_path["PAT0/ST0/IM1.dcm"].view, by_path["PAT0/ST0/IM1.dcm"].projection) == ("lateral", "LL")
    assert "PAT0" not in first.key
    assert len({record.key for record in found.records}) == 4


def test_what_is_no_radiograph_is_rejected_with_its_reason(tree):
    found = read_release("dicom", open_files(tree), SourceOptions())
    assert {row.source_path: row.reason for row in found.rejected} == {
        "PAT2/SR.dcm": "no-pixels",
        "PAT2/CT.dcm": "other-modality",
        "PAT2/no.dcm": "not-dicom",
    }
    assert found.notes == ["2 files that are no DICOM images were left out, such as DICOMDIR"]


def without_picture(kind, modality):
    """A presentation state, a report or the like, as archives export them beside images."""
    header = dicom_dataset(report_bytes())
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = kind
    header.Modality = modality
    buffer = io.BytesIO()
    header.save_as(buffer)
    return buffer.getvalue()


def test_what_holds_no_image_by_its_kind_is_no_rejected_image(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    kinds = {
        "PR0.dcm": ("1.2.840.10008.5.1.4.1.1.11.1", "PR"),
        "PR1.dcm": ("1.2.840.10008.5.1.4.1.1.1.1", "PR"),
        "SR": ("1.2.840.10008.5.1.4.1.1.88.11", "SR"),
        "PDF": ("1.2.840.10008.5.1.4.1.1.104.1", "OT"),
        "1.2.3": ("1.2.3", "KO"),
    }
    for name, kind in kinds.items():
        (folder / name).write_bytes(without_picture(*kind))
    (folder / "IM0").write_bytes(dicom_bytes(PIXELS, bits=12))
    found = read_release("dicom", open_files(folder), SourceOptions())
    assert len(found.records) == 1
    assert found.rejected == []
    said = found.notes[0]
    assert said.startswith("5 DICOM files that hold no image")
    assert "Basic Text SR 1" in said
    assert "modality KO 1" in said
    assert (
        build_dataset(BuildConfig(source="dicom", input=folder, output=tmp_path / "out", workers=1)).num_rejected == 0
    )


def test_files_without_preamble_or_suffix(tmp_path):
    data = dicom_bytes(PIXELS, bits=12, ViewPosition="PA")
    for name, start in {"whole": 0, "letters": 128, "meta": 132}.items():
        (tmp_path / name).write_bytes(data[start:])
    (tmp_path / "zeros").write_bytes(bytes(128) + data[132:])
    (tmp_path / "text").write_bytes(b"\x08\x00 is how some text may begin, too")
    found = read_release("dicom", open_files(tmp_path), SourceOptions())
    assert sorted(record.source_path for record in found.records) == ["letters", "meta", "whole", "zeros"]
    assert {record.view for record in found.records} == {"frontal"}
    assert found.notes == ["1 files that are no DICOM images were left out, such as text"]


def test_a_zip_of_the_tree(tree, tmp_path):
    with zipfile.ZipFile(tmp_path / "tree.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in tree.rglob("*"):
            archive.write(path, path.relative_to(tree))
    found = [read_release("dicom", open_files(path), SourceOptions()).records for path in (tree, tmp_path / "tree.zip")]
    assert found[0] == found[1]


def test_only_headers_are_read(tree, monkeypatch):
    files = open_files(tree)
    monkeypatch.setattr(type(files), "read", lambda *_: pytest.fail("read a whole file"))
    assert len(read_release("dicom", files, SourceOptions()).records) == 4


def everything_in(folder: Path) -> str:
    """All that a dataset's files say: bytes as they are, and what compressed tables hold."""
    texts = [path.name + path.read_bytes().decode("latin-1") for path in sorted(folder.rglob("*")) if path.is_file()]
    texts += [
        str(pq.read_table(path).to_pydict()) + str(pq.read_schema(path).metadata) for path in folder.rglob("*.parquet")
    ]
    return "\n".join(texts)


def test_nothing_else_of_a_header_reaches_a_dataset(tree, tmp_path):
    (tree / "PAT2" / "no.dcm").unlink()
    for name in ("PAT2/SR.dcm", "PAT2/CT.dcm", "PAT2/cut.dcm"):
        assert b"Plantedname" in (tree / name).read_bytes()
    config = BuildConfig(source="dicom", input=tree, output=tmp_path / "out", size=32, workers=1, max_rejected=1.0)
    totals = build_dataset(config)
    assert (totals.num_packed, totals.num_rejected) == (3, 3)
    said = everything_in(tmp_path / "out")
    assert "MRN-0001" in said, "the patient's number is a column"
    for planted in [*PLANTED.values(), "Planted private value", "PLANTED CREATOR"]:
        assert planted not in said
    assert "planted" not in said.lower()


def test_anonymous_is_nobody(tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.dcm").write_bytes(dicom_bytes(PIXELS, bits=12, PatientID="ANONYMOUS"))
    found = read_release("dicom", open_files(tmp_path), SourceOptions()).records
    assert [record.is_patient_known for record in found] == [False, False]
    assert len({record.patient_id for record in found}) == 2


def test_text_that_is_burned_into_images_is_told(tmp_path):
    for number, said in enumerate(("YES", "NO", "", "YES")):
        (tmp_path / f"IM{number}").write_bytes(dicom_bytes(PIXELS, bits=12, BurnedInAnnotation=said))
    (note,) = read_release("dicom", open_files(tmp_path), SourceOptions()).notes
    assert note == note.bare == "2 images say that text is burned into them, which stays in the pixels"
