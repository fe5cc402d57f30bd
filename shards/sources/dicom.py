"""A tree of DICOM files: every image of a projection radiograph in it, whatever the files and folders are called.

A list of labels is joined to them by accession number, UID or path (:mod:`shards.sources.rows.join`):

    python -m shards build --source dicom --input DIR --csv labels.csv --join accession --label-columns Edema ...

The key of a sample is a hash of its path, because names of folders often are names of patients.
"""

import hashlib
from collections import Counter
from pathlib import PurePosixPath

from shards.sources.files import SourceFiles
from shards.sources.headers import Header, described, pictureless_kind, read_headers, refusal
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected
from shards.sources.release import DICOM_SUFFIXES, Note, Release
from shards.sources.rows.join import OPTIONS, JoinedList

__all__ = ["OPTIONS", "read"]


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the headers of all DICOM files; without a list, all is ``train``, and there are no labels.

    Files that are not DICOM are left out with a note, or rejected if they are named as DICOM; so are presentation
    states, reports and whatever else holds no image by its kind, which no archive's export is without. Images of other
    modalities, and images without pixels, are rejected.

    Raises:
        InputError: a list that cannot be read, or of which no row is of any image.
    """
    listed = JoinedList(files, options) if options != SourceOptions(blank=options.blank) else None
    joined_by = (listed.tag,) if listed and listed.tag else ()
    found: list[tuple[Record, str]] = []
    rejected: list[Rejected] = []
    others: list[str] = []
    pictureless: dict[str, str] = {}
    num_written_on = 0
    names = [name for name in files.names() if options.csv is None or name != options.csv.as_posix()]
    for name, header in zip(names, read_headers(files, names, joined_by), strict=True):
        path = PurePosixPath(name)
        if path.name.upper() == "DICOMDIR":
            others.append(name)
        elif isinstance(header, Rejected):
            rejected.append(header)
        elif header is not None and (kind := pictureless_kind(header)):
            pictureless[name] = kind
        elif header is not None and (refused := refusal(name, header)):
            rejected.append(refused)
        elif header is not None:
            num_written_on += header["BurnedInAnnotation"].upper() == "YES"
            found.append((_record(name, header), header[listed.tag] if joined_by and listed else name))
        elif path.suffix.lower() in DICOM_SUFFIXES:
            rejected.append(Rejected(source_path=name, reason="not-dicom", message="named as DICOM, but is none"))
        else:
            others.append(name)
    told = f"{len(others):,} files that are no DICOM images were left out"
    notes = [Note(f"{told}, such as {others[0]}", bare=told)] if others else []
    if pictureless:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(Counter(pictureless.values()).items()))
        example = next(iter(pictureless))
        told = f"{len(pictureless):,} DICOM files that hold no image"
        notes.append(Note(f"{told} ({kinds}) were left out, such as {example}", bare=f"{told} were left out"))
    if num_written_on:
        notes.append(Note(f"{num_written_on:,} images say that text is burned into them, which stays in the pixels"))
    records = [record for record, _ in found]
    labels: tuple[str, ...] = ()
    found_labels: frozenset[str] = frozenset()
    if listed and found:
        labels, found_labels = listed.labels, listed.found_labels
        records, refused_rows, of_list = listed.join(found)
        rejected += refused_rows
        notes += of_list
    return Release(
        labels=labels,
        records=records,
        rejected=rejected,
        notes=notes,
        kept=options.keep_columns,
        found_labels=found_labels,
    )


def _record(name: str, header: Header) -> Record:
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]
    patient = header["PatientID"] or f"unknown-{digest}"  # anonymised to nothing: a patient of its own
    return Record(
        key=f"dicom-{digest}",
        name=name,
        source_path=name,
        split="train",
        patient_id=patient,
        study_id=header["StudyInstanceUID"] or f"{patient}/{digest}",
        is_patient_known=bool(header["PatientID"]),
        **described(header),
    )
