"""Phantom patients written as CheXpert-v1.0-small is released."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from shards.phantom.anatomy import Anatomy, draw_anatomy
from shards.phantom.findings import chexpert_findings
from shards.phantom.labels import draw_illness, draw_severities, draw_train_labels, valid_labels
from shards.phantom.radiograph import LATERAL, random_generator, take_radiograph
from shards.sources.reports.chexpert import LABELS

RELEASE = "CheXpert-v1.0-small"
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS)
# The release's own numbers: 187,641 studies of 64,540 patients; 161,590 of 191,027 frontal images are AP.
_STUDIES_PER_PATIENT = 187_641 / 64_540
_PA_SHARE = 0.154
_LATERAL_SHARE = {"PA": 0.92, "AP": 0.037}
_SECOND_FRONTAL_SHARE = 0.018
# Real: 16 LL and 1 RL among 191,027 frontal rows. More here, so that a folder of a thousand patients holds one.
_MISFILED_SHARE = 1 / 1500
_MALE_SHARE = 0.594
_LAST_TRAIN_PATIENT = 64_540
_DATASET = 1
_QUALITY = 93


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A phantom patient: ``number`` is part of the folder name, ``position`` the place in the split."""

    split: str
    position: int
    number: int


def patients_of_split(split: str, num_patients: int, *, num_train: int) -> list[Patient]:
    """The patients of ``train`` (numbered from 1) or ``valid`` (numbered after the last real training patient)."""
    first = 1 if split == "train" else max(num_train, _LAST_TRAIN_PATIENT) + 1
    return [Patient(split=split, position=i, number=first + i) for i in range(num_patients)]


def patient_anatomy(patient: Patient, *, seed: int) -> tuple[str, int, Anatomy]:
    """Sex and age as the csv gives them, and the anatomy that all the patient's studies share."""
    rng = random_generator(seed, _DATASET, _split_code(patient), patient.position)
    sex = "Male" if rng.random() < _MALE_SHARE else "Female"
    age = int(np.clip(rng.normal(60.7, 18.3), 18, 90))
    anatomy = draw_anatomy(rng, sex=sex, age=age)
    # The one patient of unknown sex in the release is also the one of age 0: both were not recorded.
    if patient.split == "train" and patient.position == 23:
        return "Unknown", 0, anatomy
    return sex, age, anatomy


def write_patient(patient: Patient, *, root: Path, seed: int, size: int) -> list[dict[str, str]]:
    """Writes a patient's images below ``root`` (the release folder) and returns their csv rows."""
    cv2.setNumThreads(1)
    sex, age, anatomy = patient_anatomy(patient, seed=seed)
    address = (_DATASET, _split_code(patient), patient.position)
    rng = random_generator(seed, *address, 0)
    illness = draw_illness(rng)
    num_studies = 1 if patient.split == "valid" else int(rng.geometric(1 / _STUDIES_PER_PATIENT))
    rows = []
    for study in range(1, num_studies + 1):
        study_rng = random_generator(seed, *address, study)
        severities = draw_severities(study_rng, illness, split=patient.split)
        labels = draw_train_labels(study_rng, severities) if patient.split == "train" else valid_labels(severities)

        # The places of findings come from a generator of the patient, so they stay through the course.
        findings = chexpert_findings(random_generator(seed, *address, 0, 1), severities)
        folder = root / patient.split / f"patient{patient.number:05d}" / f"study{study}"
        folder.mkdir(parents=True, exist_ok=True)
        for view, (kind, projection) in enumerate(_views(study_rng), start=1):
            image_rng = random_generator(seed, *address, study, view)
            drawn = projection if projection in ("PA", "AP") else LATERAL
            height, width = _image_size(size, drawn, image_rng)
            picture = take_radiograph(anatomy, findings, projection=drawn, height=height, width=width, rng=image_rng)
            file = folder / f"view{view}_{kind.lower()}.jpg"
            file.write_bytes(simplejpeg.encode_jpeg(picture[:, :, None], quality=_QUALITY, colorspace="GRAY"))
            row = {
                "Path": f"{RELEASE}/{file.relative_to(root).as_posix()}",
                "Sex": sex,
                "Age": str(age),
                "Frontal/Lateral": kind,
                "AP/PA": projection,
            }
            rows.append(row | labels)
    return rows


def write_table(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Writes train.csv or valid.csv."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _split_code(patient: Patient) -> int:
    return 0 if patient.split == "train" else 1


def _views(rng: np.random.Generator) -> list[tuple[str, str]]:
    """(Frontal or Lateral, AP/PA column) of a study's images."""
    projection = "PA" if rng.random() < _PA_SHARE else "AP"
    views = [("Frontal", projection)]
    if rng.random() < _SECOND_FRONTAL_SHARE:
        views.append(("Frontal", projection))
    if rng.random() < _LATERAL_SHARE[projection]:
        views.append(("Lateral", ""))
    if rng.random() < _MISFILED_SHARE:
        views[0] = ("Frontal", "LL" if rng.random() < 0.9 else "RL")
    return views


def _image_size(size: int, projection: str, rng: np.random.Generator) -> tuple[int, int]:
    """(height, width) with ``size`` the shorter: mostly 320 x 390 in the proportions of a 14 x 17 inch plate."""
    long = round(size * (390 / 320 if rng.random() < 0.8 else rng.uniform(1.0, 1.22)))
    upright = rng.random() < (0.97 if projection == LATERAL else 0.14)
    return (long, size) if upright else (size, long)
