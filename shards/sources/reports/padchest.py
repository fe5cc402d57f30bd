"""PadChest (Bustos et al., Medical Image Analysis 2020): ``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`` and
16-bit PNG, in folders 0 to 54 or in one.

Labels are Python lists in text, with spaces before some words and empty ones among them; those of 27 % of the studies
were made by physicians, the others by a network that read the reports. A finding that a report's list lacks is absent;
``nan`` in place of a list says nothing. Reports are Spanish, cut to stems by the authors, and are stored as findings.
Ages are the year of the study less that of birth. Views are those of ``Projection``: ``AP_horizontal`` is a patient
who lies, ``COSTAL`` a view of the ribs, ``EXCLUDE`` and ``UNK`` are none. A study has several files.
"""

from functools import cache

from shards.format.blank import UNKNOWN
from shards.sources.copies import find_root, images_by_stem, join_images, stem
from shards.sources.files import SourceFiles
from shards.sources.lists import Row, read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release
from shards.sources.words.label import listed_findings
from shards.sources.words.patient import parse_age, parse_patient, parse_sex
from shards.sources.words.view import parse_view

OPTIONS = frozenset({"keep_columns"})
LISTS = ("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", "PADCHEST_chest_x_ray_images_labels_160K.csv")
COLUMNS = (
    *("ImageID", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM", "Projection"),
    *("Report", "Labels"),
)
_VIEWS_UNSAID = frozenset({"EXCLUDE", "UNK", ""})


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads a whole or partial copy of PadChest from its folder or the folder around it.

    Raises:
        InputError: no list, or one that lacks columns.
    """
    prefix, name = find_root(files, LISTS, what="PadChest")
    rows = list(read_list(files, name, needed=(*COLUMNS, *options.keep_columns)))
    labels = tuple(sorted({label for row in rows if not row.problem for label in _findings(row["Labels"]) or ()}))
    unsaid = dict.fromkeys(labels, UNKNOWN)
    listed = (_record(row, unsaid, options) for row in rows)
    records, rejected, notes = join_images(listed, images_by_stem(files, prefix), prefix=prefix)
    return Release(
        labels=labels,
        records=records,
        rejected=rejected,
        notes=notes,
        kept=options.keep_columns,
        found_labels=frozenset(labels),
    )


def _record(row: Row, unsaid: dict[str, int], options: SourceOptions) -> Record | Rejected:
    image = stem(row.get("ImageID"))
    patient = parse_patient(row.get("PatientID"))
    problem = row.problem
    if not problem and not (image and patient):
        problem = f"line {row.line}: no ImageID or no PatientID"
    if problem:
        return Rejected(source_path=row.get("ImageID") or f"line {row.line}", reason="bad-row", message=problem)
    word = row["Projection"]
    view, projection = (None, None) if word in _VIEWS_UNSAID else parse_view(word)
    found = _findings(row["Labels"])
    return Record(
        key=make_key(image),
        name=image,
        source_path=image,
        split="train",
        patient_id=patient,
        study_id=row["StudyID"] or image,
        view=view,
        projection=projection,
        sex=parse_sex(row["PatientSex_DICOM"]),
        age=_age(row["StudyDate_DICOM"], row["PatientBirth"]),
        labels=unsaid if found is None else _labels(found),
        findings=row["Report"] or None,
        kept=options.kept(row.values),
    )


@cache
def _findings(cell: str) -> frozenset[str] | None:
    found = listed_findings(cell, separator=",")
    return None if found is None else frozenset(found)


@cache  # records of equal findings share them
def _labels(found: frozenset[str]) -> dict[str, int]:
    return dict.fromkeys(sorted(found), 1)


def _age(study_date: str, birth: str) -> float | None:
    year = parse_patient(birth)  # 1930.0
    if not (study_date[:4].isdigit() and year.isdigit()):
        return None
    return parse_age(str(int(study_date[:4]) - int(year)))
