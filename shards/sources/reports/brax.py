"""BRAX (Reis et al., Scientific Data 2022): Brazilian chest X-rays with CheXpert's labels, found in Portuguese
reports.

``master_spreadsheet_update.csv`` has a row an image, with its PNG (``images/id_.../Study_.../Series_.../...png``).
Ages are those of groups of five years, the oldest ``85 or more``; about a quarter of the images name no view. Twelve
images are thin strips of a film; they are refused. A label that is not mentioned is absent, as in CheXpert.

Written from the paper and from torchxrayvision's reader, not from the release, which asks for an account.
"""

from shards.sources.copies import find_root
from shards.sources.files import SourceFiles
from shards.sources.lists import Row, read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release
from shards.sources.reports.chexpert import LABELS
from shards.sources.words.patient import parse_age, parse_patient, parse_sex
from shards.sources.words.view import parse_view

OPTIONS = frozenset({"keep_columns"})
LISTS = ("master_spreadsheet_update.csv", "master_spreadsheet.csv")
_COLUMNS = ("PngPath", "PatientID", "PatientSex", "PatientAge", "AccessionNumber", "ViewPosition", *LABELS)
_VALUES = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1}
_MOST_ASPECT = 10.0  # of all but the strips it is under 9


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads BRAX from the folder that holds its list, or the folder around it.

    Raises:
        InputError: no list, or one that lacks columns.
    """
    prefix, name = find_root(files, LISTS, what="BRAX")
    records: list[Record] = []
    rejected: list[Rejected] = []
    for row in read_list(files, name, needed=(*_COLUMNS, *options.keep_columns)):
        path = row.get("PngPath").replace("\\", "/")
        problem = _problem(row, path)
        if problem:
            reason, message = problem
            rejected.append(Rejected(source_path=path or f"{name}:{row.line}", reason=reason, message=message))
            continue
        view, projection = parse_view(row["ViewPosition"])
        patient = parse_patient(row["PatientID"])
        records.append(
            Record(
                key=make_key(*path.removesuffix(".png").split("/")[1:]),
                name=prefix + path,
                source_path=path,
                split="train",
                patient_id=patient,
                study_id=row["AccessionNumber"] or path.rpartition("/")[0],
                view=view,
                projection=projection,
                sex=parse_sex(row["PatientSex"]),
                age=parse_age(row["PatientAge"].removesuffix(" or more")),
                labels={label: _VALUES[row[label]] for label in LABELS if row[label]},
                kept=options.kept(row.values),
            )
        )
    return Release(labels=LABELS, records=records, rejected=rejected, kept=options.keep_columns)


def _problem(row: Row, path: str) -> tuple[str, str] | None:
    if row.problem:
        return "bad-row", row.problem
    if not path or not parse_patient(row["PatientID"]):
        return "bad-row", f"line {row.line}: no PngPath or no PatientID"
    strange = next((label for label in LABELS if row[label] and row[label] not in _VALUES), None)
    if strange:
        return "bad-row", f"line {row.line}: {strange} is {row[strange]!r}; expected 1, 0, -1 or nothing"
    sides = [_side(row.get(side)) for side in ("Rows", "Columns")]
    if all(sides) and max(sides) > _MOST_ASPECT * min(sides):
        return "bad-shape", f"a strip of {sides[1]:g} x {sides[0]:g} pixels, no radiograph"
    return None


def _side(text: str) -> float:
    """A side in pixels; 0 where none is said."""
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0
