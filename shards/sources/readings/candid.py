"""CANDID-PTX (Feng et al., Radiology: AI 2021): 19,237 DICOM files of 1024 x 1024 pixels in ``dataset``, without
suffix.

``Pneumothorax_reports.csv`` has every image: its report, its mask as run lengths or -1, and a file name that begins
with the patient (``P123_...``); ``chest_tube.csv`` and ``acute_rib_fracture.csv`` have a row a mask of those images
that have any. Of a mask the box around it is kept. An image that is listed under several patients is refused.

Written from the paper and from public code that reads it, not from the release, which asks for a data use agreement.
"""

from collections.abc import Mapping

from shards.sources.copies import find_root, images_by_stem, join_images, optional_list, stem
from shards.sources.files import SourceFiles
from shards.sources.headers import with_headers
from shards.sources.lists import columns_of, read_list
from shards.sources.options import SourceOptions
from shards.sources.readings.masks import Boxes, read_masks
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Note, Release

LABELS = ("Pneumothorax", "Chest Tube", "Rib Fracture")
LISTS = ("Pneumothorax_reports.csv",)
OTHERS = {"Chest Tube": "chest_tube.csv", "Rib Fracture": "acute_rib_fracture.csv"}
SIDE = 1024


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads CANDID-PTX from the folder that holds its lists, or the folder around it.

    Raises:
        InputError: no list of reports, or a list that lacks columns.
    """
    prefix, name = find_root(files, LISTS, what="CANDID-PTX")
    pneumothorax, problems = read_masks(
        files, name, LABELS[0], image="SOPInstanceUID", pixels="EncodedPixels", side=SIDE
    )
    found: dict[str, Boxes] = {LABELS[0]: pneumothorax}
    notes: list[Note] = []
    for label, other in OTHERS.items():
        place = optional_list(files, prefix + other)
        if place is None:
            notes.append(Note(f"{other} is not in this copy, so {label} is unknown"))
            continue
        found[label], wrong = read_masks(files, place, label, image="anon_SOPUID", pixels="mask_rle", side=SIDE)
        problems |= {image: f"{other}: {message}" for image, message in wrong.items()}
    reports, patients, shared = _read_reports(files, name)
    problems |= dict.fromkeys(shared, "listed under several patients")
    listed = [_item(image, found, problems, reports, patients) for image in pneumothorax]
    images = images_by_stem(files, prefix, also=("",))
    records, rejected, told = join_images(listed, images, prefix=prefix)
    records, refused = with_headers(files, records, patients=not patients)
    return Release(
        labels=tuple(label for label in LABELS if label in found),
        records=records,
        rejected=[*rejected, *refused],
        notes=[*notes, *told],
    )


def _item(
    image: str,
    found: Mapping[str, Boxes],
    problems: Mapping[str, str],
    reports: Mapping[str, str],
    patients: Mapping[str, str],
) -> Record | Rejected:
    if image in problems:
        return Rejected(source_path=image, reason="bad-row", message=problems[image])
    return Record(
        key=make_key(image),
        name=image,
        source_path=image,
        split="train",
        patient_id=patients.get(image, image),
        study_id=image,
        is_patient_known=image in patients,
        view="frontal",
        labels={label: int(bool(of.get(image))) for label, of in found.items()},
        boxes=tuple(box for of in found.values() for box in of.get(image, ())),
        box_frame=(SIDE, SIDE),
        findings=reports.get(image),
    )


def _read_reports(files: SourceFiles, name: str) -> tuple[dict[str, str], dict[str, str], set[str]]:
    """The report and the patient of each image, and the images of several patients."""
    has_patients = "filename" in columns_of(files, name)
    reports: dict[str, str] = {}
    patients: dict[str, str] = {}
    shared: set[str] = set()
    for row in read_list(files, name, needed=("SOPInstanceUID",)):
        image = stem(row.get("SOPInstanceUID"))
        patient = row.get("filename").split("_")[0] if has_patients else ""
        if row.get("Report"):
            reports.setdefault(image, " ".join(row["Report"].split()))
        if patient and patients.setdefault(image, patient) != patient:
            shared.add(image)
    return reports, patients, shared
