"""Any folder or zip of images with a CSV, whose columns are mapped by flags.

    python -m shards build --source table --input DIR --csv labels.csv --path-column file --patient-column patient \
        --split-column fold --label-columns Effusion Edema --output OUT

Images may be DICOM: what the list has no column for is then read from their headers, and what is no radiograph is
refused. Rows that name the same image with the same values count once; with different values the image is refused, or
its labels are united (``--rows union``).
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from shards.base.errors import InputError, OptionError
from shards.sources.files import SourceFiles, is_inside
from shards.sources.headers import (
    BAD_PATH,
    UNREADABLE,
    Header,
    described,
    may_be_dicom,
    pictureless_kind,
    read_headers,
    refusal,
)
from shards.sources.lists import Row
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Note, Release, image_names
from shards.sources.rows.reader import OPTIONS as ROW_OPTIONS
from shards.sources.rows.reader import RowReader, check_template, named_path, read_rows
from shards.sources.rows.repeated import once_each

OPTIONS = ROW_OPTIONS | {"path_column", "path_template"}


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the list that ``options`` describe, and joins it with the input's images.

    Raises:
        InputError: ``--csv`` or ``--path-column`` is missing, a mapped column is not in the list, a template has no
            place for the name, or no image that the list names is there.
    """
    if options.csv is None or options.path_column is None:
        raise OptionError(
            "--source table: give --csv and --path-column, which say what lists the images and in which column"
        )
    check_template(options)
    reader = RowReader(options)
    name, rows = read_rows(files, options, [options.path_column, *reader.columns])
    labels = reader.learn_labels(rows)
    images = image_names(files)
    spelt = {unicodedata.normalize("NFC", image): image for image in images if not image.isascii()}
    listed: list[Record] = []
    rejected: list[Rejected] = []
    for row in rows:
        item = _record(row, name, options, reader)
        if isinstance(item, Record):
            # macOS writes an accented letter in two signs, lists in one
            listed.append(replace(item, name=spelt.get(unicodedata.normalize("NFC", item.name), item.name)))
        else:
            rejected.append(item)
    once, repeated, notes = once_each(listed, unite=options.rows == "union", can_unite=True)
    rejected += repeated
    _require_some(files, once, options)
    records: list[Record] = []
    headers = read_headers(files, [record.name for record in once if may_be_dicom(record.name)])
    for record in once:
        item = _with_header(next(headers), record, options) if may_be_dicom(record.name) else record
        if isinstance(item, Record):
            records.append(item)
        else:
            rejected.append(item)
    unlisted = sorted(set(images) - {record.name for record in listed})
    if unlisted:
        told = f"{len(unlisted):,} images are not in {name} and were left out, such as {unlisted[0]}"
        notes.append(Note(told, bare=f"{len(unlisted):,} images are not in the list and were left out"))
    return Release(
        labels=labels,
        kept=options.keep_columns,
        records=records,
        rejected=rejected,
        notes=[*reader.notes(), *notes],
        found_labels=reader.found_labels,
    )


def _require_some(files: SourceFiles, listed: Sequence[Record], options: SourceOptions) -> None:
    inside = [record.name for record in listed if is_inside(record.name)]
    if not inside or any(map(files.has, inside)):
        return
    told = f"--path-column {options.path_column}: none of the {len(inside):,} images that it names is"
    remedy = "it names them relative to --input; check both, and --path-template"
    raise InputError(
        f"{told} in --input {files.label}: there is no such file as {inside[0]!r}; {remedy}",
        bare=f"{told} in --input; {remedy}",
    )


def _record(row: Row, list_name: str, options: SourceOptions, reader: RowReader) -> Record | Rejected:
    assert options.path_column is not None
    is_named = bool(row.get(options.path_column))
    # '..' and a leading slash stay, and are refused later.
    source_path = named_path(row, options.path_column, options) if is_named else f"{list_name}:{row.line}"
    problem = reader.problem(row)
    if not problem and not is_named:
        problem = f"line {row.line}: no image in column {options.path_column!r}"
    if problem:
        return Rejected(source_path=source_path, reason="bad-row", message=problem)
    identity = str(PurePosixPath(source_path).parent / PurePosixPath(source_path).stem)
    assumed = Record(
        key=make_key(*identity.split("/")),
        name=source_path,
        source_path=source_path,
        split="train",
        patient_id=identity,
        study_id=identity,
        is_patient_known=False,
    )
    return replace(assumed, **reader.fields(row))


def _with_header(header: Header | Rejected | None, record: Record, options: SourceOptions) -> Record | Rejected:
    """The record of a file that may be DICOM, with what its header says and the list has no column for."""
    if header is None or (isinstance(header, Rejected) and header.reason in (UNREADABLE, BAD_PATH)):
        return record  # the build meets what is unreadable again, and rejects the image with the reason
    if isinstance(header, Rejected):
        return header
    kind = pictureless_kind(header)
    if kind:
        return Rejected(source_path=record.source_path, reason="no-pixels", message=f"DICOM without an image: {kind}")
    refused = refusal(record.source_path, header)
    if refused:
        return refused
    said = described(header)
    columns = {"view": options.view_column, "projection": options.view_column}
    columns |= {"sex": options.sex_column, "age": options.age_column}
    found = {field: value for field, value in said.items() if not columns[field]}
    if not options.patient_column and header["PatientID"]:
        found |= {"patient_id": header["PatientID"], "is_patient_known": True}
    if not options.study_column and header["StudyInstanceUID"]:
        found["study_id"] = header["StudyInstanceUID"]
    return replace(record, **found)
