"""Shenzhen tuberculosis set (Jaeger et al., 2014): ``CXR_png/CHNCXR_0001_0.png`` and ``ClinicalReadings/*.txt``.

The label is the last digit of the file name; the readings give sex and age in free text. The release has no split: one
is drawn here once, by class, with a fixed seed.
"""

import re
from pathlib import PurePosixPath

from shards.base.errors import InputError
from shards.sources.files import SourceFiles
from shards.sources.options import SourceOptions
from shards.sources.patient import draw_splits
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release, around, image_names, read_text

LABELS = ("Tuberculosis",)
_NAME = re.compile(r"CHNCXR_(\d{4})_([01])")
_SEX = re.compile(r"\b(fe)?male", re.IGNORECASE)
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(y|m|d)", re.IGNORECASE)
_YEARS = {"y": 1.0, "m": 1 / 12, "d": 1 / 365}


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the Shenzhen release from the folder that holds ``CXR_png``, or the folder around it.

    Raises:
        InputError: no ``CXR_png`` folder.
    """
    prefix = next((prefix for prefix in around(files) if "CXR_png" in files.below(prefix).folders()), None)
    if prefix is None:
        raise InputError(
            f"--input {files.label}: no folder CXR_png there or one folder below; is this the Shenzhen set?"
        )
    found: dict[str, list[tuple[str, str]]] = {"0": [], "1": []}
    rejected: list[Rejected] = []
    for image in image_names(files.below(f"{prefix}CXR_png")):
        match = _NAME.fullmatch(PurePosixPath(image).stem)
        if match:
            found[match[2]].append((match[1], image))
        else:
            message = "expected a name like CHNCXR_0001_0.png, whose last digit is the label"
            rejected.append(Rejected(source_path=f"CXR_png/{image}", reason="bad-name", message=message))
    records = [
        _record(files, prefix, name, number, int(label), split)
        for label, images in found.items()
        for (number, name), split in zip(
            images, draw_splits(len(images), release="shenzhen", label=int(label)), strict=True
        )
    ]
    return Release(labels=LABELS, records=records, rejected=rejected)


def _record(files: SourceFiles, prefix: str, image: str, number: str, label: int, split: str) -> Record:
    stem = PurePosixPath(image).stem
    first, _, rest = read_text(files, f"{prefix}ClinicalReadings/{stem}.txt").partition("\n")
    sex, age = parse_first_line(first)
    return Record(
        key=make_key(stem),
        name=f"{prefix}CXR_png/{image}",
        source_path=f"CXR_png/{image}",
        split=split,
        patient_id=number,
        study_id=stem,
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
