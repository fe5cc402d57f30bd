import gzip
import zipfile

import pytest

from shards.base.errors import InputError
from shards.format.blank import UNKNOWN
from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from shards.sources.reports.mimic import LABELS

SPLIT = [
    "dicom_id,study_id,subject_id,split",
    "02aa804e-bde0afdd,50414267,10000032,train",
    "174413ec-4ec4c1f7,50414267,10000032,train",
    "2a2277a9-b0ded155,53189527,10000764,validate",
    "e084de3b-be89b11e,53911762,10000898,test",
    "68b5c4b1-227d0485,53911763,12345678,train",
]
METADATA = [
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate",
    '02aa804e-bde0afdd,10000032,50414267,"CHEST (PA AND LAT)",PA,3056,2544,21800506',
    '174413ec-4ec4c1f7,10000032,50414267,"CHEST (PA AND LAT)",LATERAL,3056,2544,21800506',
    "2a2277a9-b0ded155,10000764,53189527,CHEST PORT,AP,3056,2544,21800626",
    "e084de3b-be89b11e,10000898,53911762,CHEST,,2705,2539,21800723",
]
CHEXPERT = [
    ",".join(["subject_id", "study_id", *LABELS]),
    "10000032,50414267,,,,,,,,,1.0,,,,,",
    "10000764,53189527,,-1.0,0.0,,,,,,,1.0,,,,",
]
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites  // eval for
   infection

 TECHNIQUE:  Chest PA and lateral

 FINDINGS:

 There is no focal consolidation.
"""


@pytest.fixture
def release(tmp_path):
    """A copy with the patients of group p10 only, as many make it."""
    root = tmp_path / "mimic-cxr-jpg-2.0.0"
    for row in SPLIT[1:-1]:
        dicom, study, subject, _ = row.split(",")
        folder = root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{dicom}.jpg").touch()
    for kind, lines in (("split", SPLIT), ("metadata", METADATA), ("chexpert", CHEXPERT)):
        with gzip.open(root / f"mimic-cxr-2.0.0-{kind}.csv.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
    return root


@pytest.fixture
def reports(tmp_path):
    folder = tmp_path / "mimic-cxr-reports" / "files" / "p10" / "p10000032"
    folder.mkdir(parents=True)
    (folder / "s50414267.txt").write_text(REPORT)
    return tmp_path / "mimic-cxr-reports"


def test_the_three_lists_are_joined(release):
    files = open_files(release)
    found = read_release("mimic", files, SourceOptions())
    frontal, lateral, portable, unlabelled = found.records
    assert all(files.has(record.name) for record in found.records)
    assert (frontal.source_path, frontal.patient_id, frontal.study_id, frontal.split) == (
        "files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg", "10000032", "50414267", "train"
    )  # fmt: skip
    assert (frontal.view, frontal.projection) == ("frontal", "PA")
    assert (lateral.view, lateral.projection) == ("lateral", None)
    assert frontal.labels == lateral.labels == {"No Finding": 1}
    assert (portable.split, portable.projection) == ("valid", "AP")
    assert portable.labels == {"Cardiomegaly": -1, "Consolidation": 0, "Pleural Effusion": 1}
    assert (unlabelled.split, unlabelled.view) == ("test", None)
    assert unlabelled.labels == dict.fromkeys(LABELS, UNKNOWN), "a blank is absent, a study that is not listed is not"
    assert found.notes == [
        "1 images are of studies that mimic-cxr-2.0.0-chexpert.csv.gz lacks: unlabelled",
        "1 listed images of p12 are not in this copy",
    ]
    assert {record.indication for record in found.records} == {None}


def test_the_folder_around_and_unpacked_lists_serve_too(release):
    for kind in ("split", "metadata", "chexpert"):
        path = release / f"mimic-cxr-2.0.0-{kind}.csv.gz"
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    files = open_files(release.parent)
    found = read_release("mimic", files, SourceOptions())
    assert len(found.records) == 4
    assert files.has(found.records[0].name)
    assert found.records[0].source_path.startswith("files/p10/")


@pytest.mark.parametrize("packed", [False, True])
def test_the_indication_comes_from_the_reports(release, reports, packed):
    if packed:
        with zipfile.ZipFile(reports.with_suffix(".zip"), "w") as archive:
            for path in reports.rglob("*.txt"):
                archive.write(path, path.relative_to(reports))
        reports = reports.with_suffix(".zip")
    found = read_release("mimic", open_files(release), SourceOptions(reports=reports))
    indications = [record.indication for record in found.records]
    assert indications == ["___F with new onset ascites // eval for infection"] * 2 + [None, None]
    assert {record.findings for record in found.records} == {None}, "the answer stays out"
    assert found.notes[-1] == "1 of 3 studies have a report with an indication"


def test_a_folder_without_these_reports_is_refused(release, tmp_path):
    with pytest.raises(InputError, match="--reports .*: no folder files there"):
        read_release("mimic", open_files(release), SourceOptions(reports=release / "files"))
    (tmp_path / "reports" / "files").mkdir(parents=True)
    with pytest.raises(InputError, match="no report of these studies"):
        read_release("mimic", open_files(release), SourceOptions(reports=tmp_path / "reports"))


def test_missing_lists_and_bad_rows(release):
    with gzip.open(release / "mimic-cxr-2.0.0-split.csv.gz", "at") as file:
        file.write("../../x,50414267,10000032,train\n")
        file.write("aaaa,../50414267,10000032,train\n")
        file.write("bbbb,50414267,10000032,dev\n")
        file.write("cccc,50414267\n")
    found = read_release("mimic", open_files(release), SourceOptions())
    assert [row.reason for row in found.rejected] == ["bad-row"] * 4
    assert "split 'dev' is none of train, validate, test" in found.rejected[2].message
    (release / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    with pytest.raises(InputError, match=r"no mimic-cxr-2\.0\.0-chexpert\.csv\.gz"):
        read_release("mimic", open_files(release), SourceOptions())


def test_an_unknown_label_value_rejects_the_study(release):
    with gzip.open(release / "mimic-cxr-2.0.0-chexpert.csv.gz", "at") as file:
        file.write("10000898,53911762,maybe,,,,,,,,,,,,,\n")
    found = read_release("mimic", open_files(release), SourceOptions())
    assert len(found.records) == 3
    assert "Atelectasis is 'maybe'; expected 1.0, 0.0, -1.0 or nothing" in found.rejected[0].message


def test_a_report_in_another_encoding_is_read(release, reports):
    (report,) = reports.rglob("*.txt")
    report.write_bytes("INDICATION: Sjögren, fever of 38.5°\r\nFINDINGS: x".encode("latin-1"))
    found = read_release("mimic", open_files(release), SourceOptions(reports=reports))
    assert found.records[0].indication == "Sjögren, fever of 38.5°"
