"""The MIMIC-CXR-like folder: layout, lists and reports, and the same bytes for a seed."""

import csv
import gzip
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.phantom import mimic_release
from shards.phantom.config import PhantomConfig
from shards.phantom.write import write_phantom
from shards.sources.options import SourceOptions
from shards.sources.reports.mimic import LABELS
from shards.sources.words.indication import find_indication


def _write(output: Path, **changes: int) -> Path:
    settings = {"mimic_patients": 14, "mimic_size": 32, "workers": 1}
    nothing = {"chexpert_patients": 0, "chexpert_valid_patients": 0, "shenzhen_images": 0}
    totals = write_phantom(PhantomConfig(output=output, **(nothing | settings | changes)))
    assert totals["mimic"] == str(output / "MIMIC-CXR-JPG")
    return output / "MIMIC-CXR-JPG"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("mimic"))


def _rows(release: Path, name: str) -> list[dict[str, str]]:
    with gzip.open(release / f"mimic-cxr-2.0.0-{name}.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout_and_lists_are_those_of_the_release(release: Path) -> None:
    split, metadata, labels = (_rows(release, name) for name in ("split", "metadata", "chexpert"))
    images = {path.relative_to(release).as_posix() for path in release.rglob("*.jpg")}
    listed = {
        f"files/p{row['subject_id'][:2]}/p{row['subject_id']}/s{row['study_id']}/{row['dicom_id']}.jpg" for row in split
    }
    assert images == listed
    assert len(listed) == len(split) == len(metadata)
    assert all(re.fullmatch(r"p1\d", path.name) for path in (release / "files").iterdir())
    assert len({row["subject_id"] for row in split}) == 14
    assert {row["study_id"] for row in split} == {row["study_id"] for row in labels}
    assert len({row["study_id"] for row in labels}) == len(labels)
    assert {row["ViewPosition"] for row in metadata} <= {"PA", "AP", "LATERAL", "LL"}
    assert list(labels[0]) == ["subject_id", "study_id", *LABELS]
    assert {row[label] for row in labels for label in LABELS} == {"1.0", "0.0", "-1.0", ""}
    assert len({(row["subject_id"], row["split"]) for row in split}) == 14, "a patient is in one split"
    sizes = {row["dicom_id"]: (int(row["Rows"]), int(row["Columns"])) for row in metadata}
    for path in sorted(release.rglob("*.jpg"))[:10]:
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert picture.shape == sizes[path.stem]
        assert min(picture.shape) == 32


def test_packing_fills_the_indication(release: Path, tmp_path: Path) -> None:
    options = SourceOptions(reports=release / "reports")
    build_dataset(
        BuildConfig(source="mimic", input=release, output=tmp_path / "data", workers=1, size=32, source_options=options)
    )
    index = ShardIndex.open(tmp_path / "data")
    assert len(index) == len(_rows(release, "split"))
    told = dict(zip(index.column("study_id").tolist(), index.table["indication"].to_pylist(), strict=True))
    reports = {path.stem[1:]: path.read_text() for path in (release / "reports").rglob("*.txt")}
    assert 0 < len(reports) < len(told), "some studies have no report"
    assert told == {study: find_indication(reports.get(study, "")) for study in told}
    assert np.mean([text is not None for text in told.values()]) > 0.6
    assert set(index.column("split")) == {"train", "valid", "test"}


def test_bytes_depend_on_the_seed_and_the_patient_only(release: Path, tmp_path: Path) -> None:
    whole = _contents(release)
    fewer = _contents(_write(tmp_path / "fewer", mimic_patients=4, workers=2))
    below = {name: data for name, data in fewer.items() if not name.endswith(".gz")}
    assert below
    assert all(whole[name] == data for name, data in below.items())
    assert fewer == _contents(_write(tmp_path / "again", mimic_patients=4))
    other = _contents(_write(tmp_path / "other", mimic_patients=4, seed=1))
    assert not {name for name in below if name.endswith(".jpg")} & set(other)


def test_patients_keep_their_numbers() -> None:
    found = mimic_release.patients(40_000)
    assert len({patient.subject for patient in found}) == 40_000
    assert {patient.folder[6:9] for patient in found[:10]} == {f"p1{digit}" for digit in range(10)}
    assert len(str(found[-1].study(29))) == 8
