"""Shenzhen tuberculosis set (Jaeger et al., 2014): ``CXR_png/CHNCXR_0001_0.png`` and ``ClinicalReadings/*.txt``.

The label is the last digit of the file name; the readings give sex and age in free text. The release has no split: one
is drawn here once, by class, with a fixed seed. The Montgomery set of the same authors is read in the same way.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np

from shards.base.errors import OptionError
from shards.base.randomness import generator
from shards.sources.files import SourceFiles
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release, around, image_names, read_text

LABELS = ("Tuberculosis",)
_SEX = re.compile(r"\b(fe)?male", re.IGNORECASE)
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(y|m|d)", re.IGNORECASE)
_YEARS = {"y": 1.0, "m": 1 / 12, "d": 1 / 365}
Reading = tuple[str | None, float | None, str]  # sex, age in years, findings


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the Shenzhen release from the folder that holds ``CXR_png``, or the folder around it.

    Raises:
        InputError: no ``CXR_png`` folder.
    """
    return read_films(files, "Shenzhen", stem="CHNCXR", parse=_parse_reading)


def read_films(files: SourceFiles, name: str, *, stem: str, parse: Callable[[str], Reading]) -> Release:
    """Reads a tuberculosis set whose files are called ``STEM_0001_0.png``; ``parse`` reads a clinical reading.

    Raises:
        InputError: no ``CXR_png`` folder.
    """
    prefix = next((prefix for prefix in around(files) if "CXR_png" in files.below(prefix).folders()), None)
    if prefix is None:
        raise OptionError(
            f"--input {files.label}: no folder CXR_png there or one folder below; is this the {name} set?"
        )
    found: dict[int, list[tuple[str, str]]] = {0: [], 1: []}
    rejected: list[Rejected] = []
    for image in image_names(files.below(f"{prefix}CXR_png")):
        match = re.fullmatch(rf"{stem}_(\d{{4}})_([01])", PurePosixPath(image).stem)
        if match:
            found[int(match[2])].append((match[1], image))
        else:
            message = f"expected a name like {stem}_0001_0.png, whose last digit is the label"
            rejected.append(Rejected(source_path=f"CXR_png/{image}", reason="bad-name", message=message))
    records = []
    for label, images in found.items():
        splits = _draw_splits(len(images), release=name.lower(), label=label)
        for (number, image), split in zip(images, splits, strict=True):
            study = PurePosixPath(image).stem
            sex, age, findings = parse(read_text(files, f"{prefix}ClinicalReadings/{study}.txt"))
            records.append(
                Record(
                    key=make_key(study),
                    name=f"{prefix}CXR_png/{image}",
                    source_path=f"CXR_png/{image}",
                    split=split,
                    patient_id=number,
                    study_id=study,
                    view="frontal",
                    projection="PA",
                    sex=sex,
                    age=age,
                    labels={"Tuberculosis": label},
                    findings=" ".join(findings.split()) or None,
                )
            )
    return Release(labels=LABELS, records=records, rejected=rejected)


def _draw_splits(num_images: int, *, release: str, label: int) -> list[str]:
    """65 / 15 / 20 % train / valid / test of a class's images, as in the MoCo-CXR protocol."""
    names = np.full(num_images, "train", dtype=object)
    order = generator(f"{release} split", label).permutation(num_images)
    num_test, num_valid = round(0.20 * num_images), round(0.15 * num_images)
    names[order[:num_test]] = "test"
    names[order[num_test : num_test + num_valid]] = "valid"
    return list(names)


def _parse_reading(text: str) -> Reading:
    first, _, rest = text.partition("\n")
    return *parse_first_line(first), rest


def parse_first_line(line: str) -> tuple[str | None, float | None]:
    """Sex (``M``, ``F``) and age in years from lines such as ``male 45yrs``, ``female, 33 yrs`` or ``male,8months``."""
    sex, age = _SEX.search(line), _AGE.search(line)
    years = float(age[1]) * _YEARS[age[2].lower()] if age else None
    return ("F" if sex[1] else "M") if sex else None, years
