"""Any folder or zip of images with a CSV, whose columns are mapped by flags.

    python -m shards build --source table --input DIR --csv labels.csv --path-column file --patient-column patient \
        --split-column fold --label-columns Effusion Edema --output OUT

Images may be DICOM. Rows that name the same image with the same values count once.
"""

from functools import cache
from pathlib import PurePosixPath

from shards.base.errors import InputError
from shards.sources.files import FolderFiles, SourceFiles
from shards.sources.lists import Row, check_encoding, read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release, image_names
from shards.sources.words.label import VALUES, is_blank, listed_findings
from shards.sources.words.patient import parse_age, parse_sex
from shards.sources.words.split import parse_split
from shards.sources.words.view import parse_view

OPTIONS = frozenset(
    {
        "csv",
        "encoding",
        "path_column",
        "path_template",
        "patient_column",
        "study_column",
        "split_column",
        "view_column",
        "sex_column",
        "age_column",
        "label_columns",
        "label_list_column",
        "label_separator",
        "indication_column",
        "findings_column",
    }
)


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the list that ``options`` describe, and joins it with the input's images.

    Raises:
        InputError: ``--csv`` or ``--path-column`` is missing, a mapped column is not in the list, or a template has no
            place for the name.
    """
    if options.csv is None or options.path_column is None:
        raise InputError(
            "--source table: give --csv and --path-column, which say what lists the images and in which column"
        )
    if options.path_template.count("{}") != 1:
        raise InputError(f"--path-template {options.path_template}: must hold {{}} once, where the column's value goes")
    check_encoding(options.encoding)
    if not options.label_separator:
        raise InputError("--label-separator: must not be empty")
    place, name = _find_list(files, options)
    mapped = _columns(options)
    rows = list(read_list(place, name, needed=mapped, encoding=options.encoding))
    if not rows:
        raise InputError(f"--csv {options.csv}: holds a header and no row")
    listed = _listed_findings(rows, options)
    clashes = sorted(set(listed) & set(options.label_columns))
    if clashes:
        raise InputError(f"--label-columns {clashes[0]}: is a finding of --label-list-column too; give it once")
    records: list[Record] = []
    rejected: list[Rejected] = []
    for row in rows:
        item = _record(row, name, options, listed)
        if isinstance(item, Record):
            records.append(item)
        else:
            rejected.append(item)
    unlisted = sorted(set(image_names(files)) - {record.name for record in records})
    notes = [f"{len(unlisted):,} images are not in {name} and were left out, such as {unlisted[0]}"] if unlisted else []
    return Release(labels=(*options.label_columns, *listed), records=records, rejected=rejected, notes=notes)


def _find_list(files: SourceFiles, options: SourceOptions) -> tuple[SourceFiles, str]:
    assert options.csv is not None
    name = options.csv.as_posix()
    if files.has(name):
        return files, name
    if options.csv.is_file():
        return FolderFiles(options.csv.parent), options.csv.name
    raise InputError(f"--csv {options.csv}: no such file, neither inside --input {files.label} nor as a path")


def _columns(options: SourceOptions) -> list[str]:
    single = (
        options.path_column,
        options.patient_column,
        options.study_column,
        options.split_column,
        options.view_column,
        options.sex_column,
        options.age_column,
        options.label_list_column,
        options.indication_column,
        options.findings_column,
    )
    return [*(column for column in single if column), *options.label_columns]


def _listed_findings(rows: list[Row], options: SourceOptions) -> tuple[str, ...]:
    """The findings that occur in the list column, in alphabetical order."""
    return tuple(sorted({finding for row in rows if not row.problem for finding in _findings(row, options) or ()}))


def _findings(row: Row, options: SourceOptions) -> list[str] | None:
    return listed_findings(row.get(options.label_list_column), separator=options.label_separator)


def _record(row: Row, list_name: str, options: SourceOptions, listed: tuple[str, ...]) -> Record | Rejected:
    path = row.get(options.path_column)
    # Lists made on other systems write .\images\a.png; '..' and a leading slash stay, and are refused later.
    named = str(PurePosixPath(options.path_template.replace("{}", path.replace("\\", "/"))))
    source_path = named if path else f"{list_name}:{row.line}"
    split = parse_split(row.get(options.split_column)) if options.split_column else "train"
    values = {label: row.get(label).lower() for label in options.label_columns}
    unknown = [label for label, value in values.items() if value not in VALUES and not is_blank(value)]
    found = _findings(row, options)
    if row.problem or not path:
        problem = row.problem or f"line {row.line}: no image in column {options.path_column!r}"
    elif split is None:
        problem = f"line {row.line}: split {row.get(options.split_column)!r} is none of train, valid (val, dev), test"
    elif unknown:
        problem = f"line {row.line}: {unknown[0]} is {row[unknown[0]]!r}; expected 1, 0, -1 or nothing"
    else:
        identity = str(PurePosixPath(source_path).parent / PurePosixPath(source_path).stem)
        view, projection = parse_view(row.get(options.view_column))
        patient = row.get(options.patient_column) or identity
        return Record(
            key=make_key(*identity.split("/")),
            name=source_path,
            source_path=source_path,
            split=split,
            patient_id=patient,
            study_id=row.get(options.study_column) or identity,
            view=view,
            projection=projection,
            sex=parse_sex(row.get(options.sex_column)),
            age=parse_age(row.get(options.age_column)),
            labels=_labels(tuple(values.items()), listed, None if found is None else frozenset(found)),
            indication=row.get(options.indication_column) or None,
            findings=row.get(options.findings_column) or None,
            is_patient_known=bool(row.get(options.patient_column)),
        )
    return Rejected(source_path=source_path, reason="bad-row", message=problem)


@cache  # few sets of labels occur, so the records share them
def _labels(
    values: tuple[tuple[str, str], ...], listed: tuple[str, ...], found: frozenset[str] | None
) -> dict[str, int]:
    said = {label: VALUES[value] for label, value in values if value in VALUES}
    return said if found is None else said | {finding: int(finding in found) for finding in listed}
