"""RSNA Pneumonia Detection Challenge (Shih et al., Radiology: AI 2019; Kaggle 2018), stage 2.

``stage_2_train_labels.csv`` has a row a box, or a row without one where there is no opacity; beside it
``stage_2_detailed_class_info.csv`` tells normal images from those that are abnormal in another way. The images are
1024 x 1024 DICOM files that were made of NIH's ChestX-ray14; view, sex and age are in their headers, and the
identifier of the patient is the image's own. Whose they are says ``pneumonia-challenge-dataset-mappings_2018.json``
alone, where it lies there. Kaggle's test images have no labels and are left out.
"""

import json
from pathlib import PurePosixPath

from shards.base.errors import InputError
from shards.format.boxes import Box
from shards.sources.copies import find_root, images_by_stem, join_images, optional_list
from shards.sources.files import SourceFiles
from shards.sources.headers import with_headers
from shards.sources.lists import read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Note, Release
from shards.sources.words.box import parse_box

LABELS = ("Lung Opacity", "No Lung Opacity / Not Normal", "Normal")
LISTS = ("stage_2_train_labels.csv",)
CLASSES = "stage_2_detailed_class_info.csv"
PATIENTS = "pneumonia-challenge-dataset-mappings_2018.json"
_BOX = ("x", "y", "width", "height")
_SIDE = 1024


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the challenge's folder, or the folder around it.

    Raises:
        InputError: no list of labels, or a list that cannot be read.
    """
    prefix, name = find_root(files, LISTS, what="RSNA's pneumonia challenge")
    classes, problems = _read_classes(files, prefix)
    boxes: dict[str, list[Box]] = {}
    targets: dict[str, str] = {}
    for row in read_list(files, name, needed=("patientId", *_BOX, "Target")):
        image, target = row.get("patientId"), row.get("Target")
        numbers = [row.get(column) for column in _BOX]
        box = parse_box("Lung Opacity", numbers)
        if row.problem or target not in ("0", "1"):
            problems[image] = row.problem or f"line {row.line}: Target is {target!r}; expected 0 or 1"
        elif (box is not None) != (target == "1") or targets.setdefault(image, target) != target:
            problems[image] = f"line {row.line}: Target {target} does not go with its box or its other rows"
        elif box is not None:
            boxes.setdefault(image, []).append(box)
        targets.setdefault(image, target)
    patients = _read_patients(files, prefix)
    listed: list[Record | Rejected] = []
    for image, target in targets.items():
        said = classes.get(image)
        labels = {"Lung Opacity": int(target == "1")}
        if classes and said is not None:
            labels = {label: int(label == said) for label in LABELS}
        if (said is not None and labels["Lung Opacity"] != int(target == "1")) and image not in problems:
            problems[image] = f"Target is {target}, but its class is {said!r}"
        if image in problems:
            listed.append(Rejected(source_path=image, reason="bad-row", message=problems[image]))
            continue
        listed.append(
            Record(
                key=make_key(image),
                name=image,
                source_path=image,
                split="train",
                patient_id=patients.get(image, image),
                study_id=image,
                is_patient_known=image in patients,
                view="frontal",
                labels=labels,
                boxes=tuple(boxes.get(image, ())),
                box_frame=(_SIDE, _SIDE),
            )
        )
    images = images_by_stem(files, prefix)
    tests = [one for names in images.values() for one in names if "test" in PurePosixPath(one).parent.name]
    records, rejected, notes = join_images(listed, images, prefix=prefix, left_out=tests)
    records, refused = with_headers(files, records, patients=False)
    if not patients:
        notes.append(Note(f"without {PATIENTS} nothing says which images are of one patient"))
    used = LABELS if classes else LABELS[:1]
    return Release(labels=used, records=records, rejected=[*rejected, *refused], notes=notes)


def _read_classes(files: SourceFiles, prefix: str) -> tuple[dict[str, str], dict[str, str]]:
    """The class of each image, and what is wrong with its rows."""
    classes: dict[str, str] = {}
    problems: dict[str, str] = {}
    name = optional_list(files, prefix + CLASSES)
    for row in read_list(files, name, needed=("patientId", "class")) if name else ():
        image, found = row.get("patientId"), row.get("class")
        if row.problem or found not in LABELS or classes.setdefault(image, found) != found:
            problems[image] = f"{CLASSES}, line {row.line}: " + (
                row.problem or f"class {found!r} is unknown or another"
            )
    return classes, problems


def _read_patients(files: SourceFiles, prefix: str) -> dict[str, str]:
    """The patient in ChestX-ray14 of each image, of the list that maps the one to the other, if it is there."""
    if not files.has(prefix + PATIENTS):
        return {}
    try:
        entries = json.loads(files.read(prefix + PATIENTS))
        return {str(one["subset_img_id"]): str(int(str(one["img_id"]).split("_")[0])) for one in entries}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{files.label}/{prefix}{PATIENTS}: cannot be read as the challenge's mapping: {error!r}"
        ) from None
