"""Montgomery County tuberculosis set (Jaeger et al., 2014): ``CXR_png/MCUCXR_0001_0.png``, ``ClinicalReadings/*.txt``.

The label is the last digit of the file name; the readings give sex, age and findings. The masks of the lungs bear the
same file names in other folders and are not images to pack. The release has no split: one is drawn here once, by class.
"""

import re
from pathlib import PurePosixPath

from shards.base.errors import InputError
from shards.sources.files import SourceFiles
from shards.sources.options import SourceOptions
from shards.sources.patient import draw_splits, parse_age, parse_sex
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release, around, image_names, read_text

LABELS = ("Tuberculosis",)
_NAME = re.compile(r"MCUCXR_(\d{4})_([01])")
_SEX = re.compile(r"Patient's\s+Sex\s*:\s*(\w*)", re.IGNORECASE)
_AGE = re.compile(r"Patient's\s+Age\s*:\s*(\w*)", re.IGNORECASE)


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the Montgomery release from the folder that holds ``CXR_png``, or the folder around it.

    Raises:
        InputError: no ``CXR_png`` folder.
    """
    prefix = next((prefix for prefix in around(files) if "CXR_png" in files.below(prefix).folders()), None)
    if prefix is None:
        raise InputError(
            f"--input {files.label}: no folder CXR_png there or one folder below; is this the Montgomery set?"
        )
    found: dict[str, list[str]] = {"0": [], "1": []}
    rejected: list[Rejected] = []
    for image in image_names(files.below(f"{prefix}CXR_png")):
        match = _NAME.fullmatch(PurePosixPath(image).stem)
        if match:
            found[match[2]].append(image)
        else:
            message = "expected a name like MCUCXR_0001_0.png, whose last digit is the label"
            rejected.append(Rejected(source_path=f"CXR_png/{image}", reason="bad-name", message=message))
    records = []
    for label, images in found.items():
        splits = draw_splits(len(images), release="montgomery", label=int(label))
        for image, split in zip(images, splits, strict=True):
            text = read_text(files, f"{prefix}ClinicalReadings/{PurePosixPath(image).stem}.txt")
            records.append(_record(f"{prefix}CXR_png/{image}", f"CXR_png/{image}", int(label), split, text))
    return Release(labels=LABELS, records=records, rejected=rejected)


def _record(name: str, source_path: str, label: int, split: str, text: str) -> Record:
    stem = PurePosixPath(name).stem
    sex, age = _SEX.search(text), _AGE.search(text)
    findings = " ".join(line.strip() for line in text.splitlines() if not line.strip().startswith("Patient's")).split()
    return Record(
        key=make_key(stem),
        name=name,
        source_path=source_path,
        split=split,
        patient_id=stem.split("_")[1],
        study_id=stem,
        view="frontal",
        projection="PA",
        sex=parse_sex(sex[1]) if sex else None,
        age=parse_age(age[1]) if age else None,
        labels={"Tuberculosis": label},
        findings=" ".join(findings) or None,
    )
