"""The COVID-19 image data collection (Cohen et al., 2020) and those that took over its list: Figure 1 and Actualmed.

``metadata.csv`` has a row an image, CT among them, which is refused. The finding is a path in a tree, such as
``Pneumonia/Viral/COVID-19``: each of its parts is present; other diagnoses are absent, and what is more exact than the
path (which virus, after ``Pneumonia/Viral``) is unknown. ``todo`` and ``Unknown`` say nothing. Views are ``PA``,
``AP``, ``AP Supine``, ``L``. Lists may be of Latin-1, and Figure 1's names no files: they are called as its patients
are.
"""

from collections.abc import Mapping
from functools import cache

from shards.base.errors import InputError
from shards.format.blank import UNKNOWN
from shards.sources.copies import find_root, images_by_stem, join_images, stem
from shards.sources.files import SourceFiles
from shards.sources.lists import Row, read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release
from shards.sources.words.label import is_blank
from shards.sources.words.patient import parse_age, parse_patient, parse_sex
from shards.sources.words.view import parse_view

OPTIONS = frozenset({"keep_columns"})
LISTS = ("metadata.csv",)
_COLUMNS = ("patientid", "finding", "view", "modality")
_UNSAID = frozenset({"todo", "unknown"})
_NOTHING = "no finding"
Path = tuple[str, ...]


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the collection from the folder that holds ``metadata.csv``, or the folder around it.

    Raises:
        InputError: no list, or one that lacks columns.
    """
    prefix, name = find_root(files, LISTS, what="the COVID-19 image data collection")
    rows = _rows(files, name, (*_COLUMNS, *options.keep_columns))
    paths = sorted({path for row in rows if not row.problem and (path := _path(row["finding"]))})
    parents = {part: path[:place] for path in paths for place, part in enumerate(path)}
    labels = tuple(sorted(parents))
    listed = [_item(row, parents, options) for row in rows]
    records, rejected, notes = join_images(listed, images_by_stem(files, prefix), prefix=prefix)
    return Release(
        labels=labels,
        records=records,
        rejected=rejected,
        notes=notes,
        kept=options.keep_columns,
        found_labels=frozenset(labels),
    )


def _rows(files: SourceFiles, name: str, needed: tuple[str, ...]) -> list[Row]:
    try:
        return list(read_list(files, name, needed=needed))
    except InputError as error:
        if "it is not UTF-8" not in str(error):
            raise
        return list(read_list(files, name, needed=needed, encoding="latin-1"))


@cache
def _path(finding: str) -> Path | None:
    """The parts of a finding; empty where nothing was found, None where nothing is said."""
    parts = tuple(part.strip() for part in finding.split("/") if part.strip())
    if not parts or is_blank(finding) or parts[0].lower() in _UNSAID:
        return None
    return () if finding.strip().lower() == _NOTHING else parts


def _item(row: Row, parents: Mapping[str, Path], options: SourceOptions) -> Record | Rejected:
    patient, file = parse_patient(row.get("patientid")), row.get("filename")
    image = stem(file) if file else patient
    problem, reason = row.problem, "bad-row"
    if not problem and not (patient and image):
        problem = f"line {row.line}: no patientid"
    if not problem and row["modality"].lower().replace("-", "") != "xray":
        problem, reason = f"line {row.line}: modality {row['modality']!r}, no radiograph", "other-modality"
    if problem:
        return Rejected(source_path=file or image or f"line {row.line}", reason=reason, message=problem)
    view, projection = parse_view(row["view"])
    return Record(
        key=make_key(image),
        name=image,
        source_path=image,
        split="train",
        patient_id=patient,
        study_id=f"{patient}/{row.get('offset') or image}",
        view=view,
        projection=projection,
        sex=parse_sex(row.get("sex")),
        age=parse_age(row.get("age")),
        labels=_labels(_path(row["finding"]), parents),
        findings=row.get("clinical_notes") or None,
        kept=options.kept(row.values),
    )


def _labels(path: Path | None, parents: Mapping[str, Path]) -> dict[str, int]:
    if path is None:
        return dict.fromkeys(parents, UNKNOWN)
    labels = {}
    for part, above in parents.items():
        if part in path:
            labels[part] = 1
        elif not (path and path[-1] in above):  # what lies below the last part may be so
            labels[part] = 0
    return labels
