"""The CheXpert-like folder: columns, values, path prefix, laterals, shared anatomy."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from shards.phantom import chexpert_release
from shards.phantom.config import PhantomConfig
from shards.phantom.write import write_phantom

HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
LABELS = HEADER.split(",")[5:]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chexpert")
    config = PhantomConfig(
        output=folder, chexpert_patients=60, chexpert_valid_patients=25, shenzhen_images=0, size=32, workers=1
    )
    write_phantom(config)
    return folder / "CheXpert-v1.0-small"


def _rows(release: Path, split: str) -> list[dict[str, str]]:
    with (release / f"{split}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("split", ["train", "valid"])
def test_columns_and_values_are_those_of_the_release(release: Path, split: str) -> None:
    assert (release / f"{split}.csv").read_text().splitlines()[0] == HEADER
    for row in _rows(release, split):
        pattern = rf"CheXpert-v1\.0-small/{split}/patient\d{{5}}/study\d+/view\d_(frontal|lateral)\.jpg"
        assert re.fullmatch(pattern, row["Path"])
        assert (release.parent / row["Path"]).is_file()
        assert row["Sex"] in ("Male", "Female", "Unknown")
        assert 0 <= int(row["Age"]) <= 90
        assert row["Frontal/Lateral"].lower() in row["Path"]
        assert row["AP/PA"] in (("",) if row["Frontal/Lateral"] == "Lateral" else ("AP", "PA", "LL", "RL"))
        known = ("1.0", "0.0", "-1.0", "") if split == "train" else ("1.0", "0.0")
        assert all(row[label] in known for label in LABELS)


def test_train_mixes_patients_studies_and_laterals_as_the_release_does(release: Path) -> None:
    rows = _rows(release, "train")
    studies = {row["Path"].rsplit("/", 1)[0] for row in rows}
    patients = {row["Path"].split("/")[2] for row in rows}
    laterals = np.mean([row["Frontal/Lateral"] == "Lateral" for row in rows])
    assert len(patients) == 60
    assert 2.0 < len(studies) / len(patients) < 4.0
    assert 1.05 < len(rows) / len(studies) < 1.35
    assert 0.07 < laterals < 0.25
    assert {"1.0", "0.0", "-1.0", ""} == {row["Pleural Effusion"] for row in rows}
    assert [row["Sex"] for row in rows if row["Age"] == "0"] == [row["Sex"] for row in rows if row["Sex"] == "Unknown"]
    assert "Unknown" in {row["Sex"] for row in rows}
    # No Finding is 1.0 or blank in the training table, and 1.0 only beside no pathology.
    for row in rows:
        assert row["No Finding"] in ("1.0", "")
        if row["No Finding"] == "1.0":
            assert all(row[label] not in ("1.0", "-1.0") for label in LABELS[1:-1])


def test_views_of_a_study_share_their_labels(release: Path) -> None:
    seen: dict[str, list[str]] = {}
    for row in _rows(release, "train"):
        values = [row[label] for label in LABELS]
        assert seen.setdefault(row["Path"].rsplit("/", 1)[0], values) == values


def test_valid_patients_follow_the_real_training_numbers(release: Path) -> None:
    names = sorted(path.name for path in (release / "valid").iterdir())
    assert names[0] == "patient64541"
    assert len(names) == 25
    assert all(len(list(path.iterdir())) == 1 for path in (release / "valid").iterdir())


def test_images_are_gray_jpegs_with_the_asked_shorter_side(release: Path) -> None:
    for path in list((release / "train").rglob("*.jpg"))[:40]:
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert picture.ndim == 2
        assert min(picture.shape) == 32
        assert picture.std() > 15


def test_studies_of_a_patient_share_the_anatomy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def record(anatomy: object, findings: object, *, height: int, width: int, **_: object) -> np.ndarray:
        used.append(anatomy)
        return np.zeros((height, width), np.uint8)

    monkeypatch.setattr(chexpert_release, "take_radiograph", record)
    owners = []
    for patient in chexpert_release.patients_of_split("train", 8, num_train=8):
        rows = chexpert_release.write_patient(patient, root=tmp_path, seed=0, size=32)
        owners += [patient.number] * len(rows)
    assert len(owners) > len(set(owners)) == 8
    assert len({id(anatomy) for anatomy in used}) == 8
    for first, second in zip(range(len(owners) - 1), range(1, len(owners)), strict=True):
        assert (used[first] is used[second]) == (owners[first] == owners[second])
