import csv
import gzip
import io
import tarfile

import pytest

from shards.format.blank import UNKNOWN
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.sources.listed_files import ListedFiles, real_list


def report(images, terms, indication="Cough XXXX", findings="Lungs are clear."):
    terms = "".join(f"<major>{term}</major>" for term in terms)
    images = "".join(f'<parentImage id="{image}"/>' for image in images)
    texts = f'<AbstractText Label="INDICATION">{indication}</AbstractText>'
    texts += f'<AbstractText Label="FINDINGS">{findings}</AbstractText>'
    return f"<eCitation><Abstract>{texts}</Abstract><MeSH>{terms}</MeSH>{images}</eCitation>".encode()


REPORTS = {
    "ecgen-radiology/1.xml": report(["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"], ["normal"]),
    "ecgen-radiology/2.xml": report(["CXR2_IM-0652-1001"], ["Opacity/lung/base", "Cardiomegaly/mild", "Opacity"]),
    "ecgen-radiology/3.xml": report([], ["normal"]),
    "ecgen-radiology/4.xml": report(["CXR4_IM-2050-1001"], ["No Indexing"], indication="", findings="XXXX ."),
    "ecgen-radiology/5.xml": b"<eCitation><MeSH>",
    "ecgen-radiology/6.xml": b'<!DOCTYPE a [<!ENTITY b "c">]><eCitation>&b;</eCitation>',
    "indiana_projections.csv": b"uid,filename,projection\n"
    b"1,1_IM-0001-3001.dcm.png,Lateral\n2,2_IM-0652-1001.dcm.png,Frontal\n",
}
IMAGES = ["png/CXR1_1_IM-0001-3001.png", "png/1_IM-0001-4001.dcm.png", "png/2_IM-0652-1001.dcm.png"]
IMAGES += ["png/CXR4_IM-2050-1001.png"]


@pytest.fixture
def release():
    found = read_release("openi", ListedFiles(REPORTS, IMAGES), SourceOptions())
    return found, {record.key: record for record in found.records}


def test_reports_name_images_under_any_of_their_names(release):
    _, records = release
    assert {key: one.name for key, one in records.items()} == {
        "CXR1_1_IM-0001-3001": "png/CXR1_1_IM-0001-3001.png",
        "CXR1_1_IM-0001-4001": "png/1_IM-0001-4001.dcm.png",
        "CXR2_IM-0652-1001": "png/2_IM-0652-1001.dcm.png",
        "CXR4_IM-2050-1001": "png/CXR4_IM-2050-1001.png",
    }
    assert records["CXR1_1_IM-0001-3001"].view == "lateral"
    assert records["CXR1_1_IM-0001-4001"].view is None
    assert records["CXR2_IM-0652-1001"].view == "frontal"


def test_terms_are_labels(release):
    found, records = release
    assert found.labels == ("Cardiomegaly", "Opacity", "normal")
    assert records["CXR2_IM-0652-1001"].labels == {"Opacity": 1, "Cardiomegaly": 1}
    assert records["CXR4_IM-2050-1001"].labels == dict.fromkeys(found.labels, UNKNOWN)
    assert found.blanks["Opacity"] == "absent"


def test_indication_and_findings_are_kept_apart(release):
    _, records = release
    one = records["CXR2_IM-0652-1001"]
    assert (one.indication, one.findings, one.patient_id) == ("Cough XXXX", "Lungs are clear.", "2")
    assert records["CXR4_IM-2050-1001"].indication is None


def test_what_cannot_be_read_is_told(release):
    found, _ = release
    assert [(one.source_path, one.reason) for one in found.rejected] == [
        ("ecgen-radiology/5.xml", "bad-report"),
        ("ecgen-radiology/6.xml", "bad-report"),
    ]
    assert "1 of 6 reports name no image" in found.notes


@pytest.mark.slow
def test_the_real_reports():
    """3,955 reports, 104 of them without one of the 7,470 images."""
    with tarfile.open(fileobj=io.BytesIO(real_list("NLMCXR_reports.tgz"))) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
    name = "nlmcxr_dicom_metadata.csv.gz"
    rows = csv.DictReader(io.StringIO(gzip.decompress(real_list(name)).decode()))
    images = [f"images/{row['imageid']}.png" for row in rows]
    found = read_release("openi", ListedFiles(members | {name: real_list(name)}, images), SourceOptions())
    assert (len(found.records), len(found.rejected), len(found.labels)) == (7_469, 0, 119)
    assert "1 of the 7,470 listed images are not in this copy" in found.notes
    assert "104 of 3,955 reports name no image" in found.notes
    assert len({record.patient_id for record in found.records}) == 3_851
    views = [record.view for record in found.records]
    assert (views.count("frontal"), views.count("lateral")) == (4_016, 867)
    assert sum(record.labels.get("normal") == 1 for record in found.records) == 2_696
