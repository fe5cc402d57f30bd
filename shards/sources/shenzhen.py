"""Shenzhen tuberculosis set (Jaeger et al., 2014): ``CXR_png/CHNCXR_0001_0.png`` and ``ClinicalReadings/*.txt``.

The label is the last digit of the file name; the readings give sex and age in free text. The release has no split:
65 / 15 / 20 % train / valid / test are drawn here once, by class, with a fixed seed, as in the MoCo-CXR protocol.
"""

import re
from pathlib import Path

import numpy as np

from shards.errors import InputError
from shards.randomness import generator
from shards.record import Record, Rejected, make_key
from shards.sources.release import Release, image_files

LABELS = ("Tuberculosis",)
_NAME = re.compile(r"CHNCXR_(\d{4})_([01])")
_SEX = re.compile(r"\b(fe)?male", re.IGNORECASE)
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(y|m|d)", re.IGNORECASE)
_YEARS = {"y": 1.0, "m": 1 / 12, "d": 1 / 365}


def read(root: Path) -> Release:
    """Reads the Shenzhen release from the folder that holds ``CXR_png``, or the folder around it.

    Raises:
        InputError: no ``CXR_png`` folder.
    """
    root = _release_folder(root)
    found: dict[str, list[tuple[str, Path]]] = {"0": [], "1": []}
    rejected: list[Rejected] = []
    for path in image_files(root / "CXR_png"):
        match = _NAME.fullmatch(path.stem)
        if match:
            found[match[2]].append((match[1], path))
        else:
            message = "expected a name like CHNCXR_0001_0.png, whose last digit is the label"
            rejected.append(Rejected(source_path=f"CXR_png/{path.name}", reason="bad-name", message=message))
    records = [
        _record(path, number, int(label), split, root / "ClinicalReadings" / f"{path.stem}.txt")
        for label, images in found.items()
        for (number, path), split in zip(images, _splits(len(images), int(label)), strict=True)
    ]
    return Release(labels=LABELS, records=records, rejected=rejected)


def _release_folder(root: Path) -> Path:
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if (folder / "CXR_png").is_dir():
            return folder
    raise InputError(f"--input {root}: no folder CXR_png there or one folder below; is this the Shenzhen set?")


def _splits(num_images: int, label: int) -> list[str]:
    names = np.full(num_images, "train", dtype=object)
    order = generator("shenzhen split", label).permutation(num_images)
    num_test, num_valid = round(0.20 * num_images), round(0.15 * num_images)
    names[order[:num_test]] = "test"
    names[order[num_test : num_test + num_valid]] = "valid"
    return list(names)


def _record(path: Path, number: str, label: int, split: str, reading: Path) -> Record:
    text = reading.read_text(encoding="utf-8", errors="replace") if reading.is_file() else ""
    first, _, rest = text.partition("\n")
    sex, age = parse_first_line(first)
    return Record(
        key=make_key(path.stem),
        path=path,
        source_path=f"CXR_png/{path.name}",
        split=split,
        patient_id=number,
        study_id=path.stem,
        view="frontal",
        projection="PA",
        sex=sex,
        age=age,
        labels={"Tuberculosis": label},
        findings=" ".join(rest.split()) or None,
    )


def parse_first_line(line: str) -> tuple[str | None, float | None]:
    """Sex (``M``, ``F``) and age in years from lines such as ``male 45yrs``, ``female, 33 yrs`` or ``male,8months``."""
    sex, age = _SEX.search(line), _AGE.search(line)
    years = float(age[1]) * _YEARS[age[2].lower()] if age else None
    return ("F" if sex[1] else "M") if sex else None, years
