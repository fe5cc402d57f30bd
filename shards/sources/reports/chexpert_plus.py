"""CheXpert Plus (Chambon et al., 2024): CheXpert's images with reports, demographics and newer labels.

``df_chexpert_plus_240401.csv`` has a row an image: its path in CheXpert (``train/patient1/study1/view1_frontal.jpg``),
sections of the report, age, sex, race, ethnicity, insurance, split. ``--keep-columns race insurance_type`` keeps
these. Labels lie beside it as lines of JSON: ``report_fixed.json`` (CheXbert on whole reports) or, where that is
missing, those of impressions or findings; as in CheXpert a label that is not mentioned is absent. The indication is
the clinical history, or else the history. Images are PNG (``PNG/train/...``), JPEG or DICOM below the input.

Written from the paper, its repository and public code that reads it, not from the release, which asks for an account.
"""

import json
from collections.abc import Iterator
from typing import Any

from shards.base.errors import InputError, OptionError
from shards.format.blank import UNKNOWN
from shards.sources.copies import find_root, optional_list
from shards.sources.files import SourceFiles
from shards.sources.lists import Row, read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import IMAGE_SUFFIXES, Note, Release
from shards.sources.reports.chexpert import LABELS
from shards.sources.words.patient import parse_age, parse_sex
from shards.sources.words.split import parse_split
from shards.sources.words.view import parse_view

OPTIONS = frozenset({"keep_columns"})
LISTS = ("df_chexpert_plus_240401.csv", "df_chexpert_plus_240401_clean.csv")
LABEL_LISTS = ("report_fixed.json", "impression_fixed.json", "findings_fixed.json")
_FOLDERS = ("", "chexbert_labels/", "labels/")
_COLUMNS = ("path_to_image", "deid_patient_id", "split")
_UNLISTED = dict.fromkeys(LABELS, UNKNOWN)
Labels = dict[str, dict[str, int]]


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads CheXpert Plus from the folder that holds its list, or the folder around it.

    Raises:
        InputError: no list, no labels, or a list that cannot be read.
    """
    prefix, name = find_root(files, LISTS, what="CheXpert Plus")
    label_list = optional_list(files, *(prefix + folder + one for one in LABEL_LISTS for folder in _FOLDERS))
    if label_list is None:
        raise OptionError(
            f"--input {files.label}: none of {', '.join(LABEL_LISTS)} beside {name}; put the labels there"
        )
    labels = _read_labels(files, label_list)
    places = _places(files, prefix)
    records: list[Record] = []
    rejected: list[Rejected] = []
    num_absent = 0
    for row in read_list(files, name, needed=(*_COLUMNS, *options.keep_columns)):
        item = _record(row, labels, places, options)
        if item is None:
            num_absent += 1
        elif isinstance(item, Record):
            records.append(item)
        else:
            rejected.append(item)
    notes = [Note(f"labels are those of {label_list.removeprefix(prefix)}")]
    num_unlisted = sum(record.labels is _UNLISTED for record in records)
    if num_unlisted:
        notes.append(Note(f"{num_unlisted:,} images have no labels there: unlabelled"))
    if num_absent:
        notes.append(Note(f"{num_absent:,} listed images are not in this copy"))
    return Release(labels=LABELS, records=records, rejected=rejected, notes=notes, kept=options.keep_columns)


def _places(files: SourceFiles, prefix: str) -> dict[str, str]:
    """The images by what the list calls them, without the suffix."""
    found = {}
    for name in files.names():
        body, _, suffix = name.rpartition(".")
        parts = body.split("/")
        if name.startswith(prefix) and f".{suffix.lower()}" in IMAGE_SUFFIXES and len(parts) >= 4:
            found["/".join(parts[-4:])] = name
    return found


def _record(row: Row, labels: Labels, places: dict[str, str], options: SourceOptions) -> Record | Rejected | None:
    """None for an image that is not in this copy."""
    path = row.get("path_to_image").rpartition(".")[0]
    parts = path.split("/")
    split = parse_split(row.get("split"))
    problem = row.problem
    if not problem and (len(parts) != 4 or not parts[1].startswith("patient")):
        problem = f"line {row.line}: path_to_image is no train/patientN/studyN/viewN_frontal.jpg"
    if not problem and split is None:
        problem = f"line {row.line}: split {row.get('split')!r} is none of train, valid, test"
    if problem or split is None:
        source_path = row.get("path_to_image") or f"line {row.line}"
        return Rejected(source_path=source_path, reason="bad-row", message=problem or "")
    if path not in places:
        return None
    said = row.get("frontal_lateral").lower()
    return Record(
        key=make_key(*parts),
        name=places[path],
        source_path=path,
        split=split,
        patient_id=parts[1],
        study_id=f"{parts[1]}/{parts[2]}",
        view=parse_view(said)[0] or ("lateral" if "lateral" in parts[3] else "frontal"),
        projection=row.get("ap_pa") or None,
        sex=parse_sex(row.get("sex")),
        age=parse_age(row.get("age")),
        labels=labels.get(path, _UNLISTED),
        indication=_text(row, "section_clinical_history") or _text(row, "section_history"),
        findings=_text(row, "section_findings"),
        kept=options.kept(row.values),
    )


def _text(row: Row, column: str) -> str | None:
    return " ".join(row.get(column).split()) or None


def _read_labels(files: SourceFiles, name: str) -> Labels:
    """Labels by image, without the suffix; images of equal labels share them."""
    labels: Labels = {}
    shared: dict[tuple[tuple[str, int], ...], dict[str, int]] = {}
    for number, one in _json_lines(files, name):
        try:
            said = [(label, one.get(label)) for label in LABELS]
            values = tuple((label, int(value)) for label, value in said if value is not None and value == value)
            path = str(one["path_to_image"]).rpartition(".")[0]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{files.label}/{name}, line {number}: no labels of an image ({error!r})") from None
        if not {value for _, value in values} <= {1, 0, -1}:
            raise InputError(f"{files.label}/{name}, line {number}: a label that is none of 1, 0, -1 and null")
        labels[path] = shared.setdefault(values, dict(values))
    return labels


def _json_lines(files: SourceFiles, name: str) -> Iterator[tuple[int, Any]]:
    try:
        with files.open(name) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, json.loads(line)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{files.label}/{name}: cannot be read as lines of JSON: {error}") from None
