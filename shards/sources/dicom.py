"""A tree of DICOM files: every image of a projection radiograph in it, whatever the files and folders are called.

Of the headers these are read, and nothing else: patient, study, sex, age, view position, and what kind of image it is.
The key of a sample is a hash of its path, because names of folders often are names of patients.
"""

import hashlib
from pathlib import PurePosixPath
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from shards.base.errors import InputError
from shards.base.words import reason_of
from shards.sources.files import SourceFiles
from shards.sources.options import SourceOptions
from shards.sources.patient import parse_age, parse_sex, parse_view
from shards.sources.record import Record, Rejected
from shards.sources.release import DICOM_SUFFIXES, Release

# Computed, digital and scanned radiography; what other devices make is not a chest X-ray.
MODALITIES = ("", "CR", "DX", "DR", "RG", "OT", "SC")
TAGS = ("PatientID", "StudyInstanceUID", "PatientSex", "PatientAge", "ViewPosition", "Modality", "Rows", "Columns")


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the headers of all DICOM files; all is ``train``, and there are no labels.

    Files that are not DICOM are left out with a note, or rejected if they are named as DICOM; images of other
    modalities, and DICOM files without an image, are rejected.
    """
    records: list[Record] = []
    rejected: list[Rejected] = []
    others: list[str] = []
    for name in files.names():
        path = PurePosixPath(name)
        if path.name.upper() == "DICOMDIR":
            others.append(name)
            continue
        try:
            header = _header(files, name)
        except OSError as error:
            rejected.append(Rejected(source_path=name, reason="unreadable", message=reason_of(error)))
            continue
        except InputError as error:  # a link out of the input
            rejected.append(Rejected(source_path=name, reason="bad-path", message=str(error)))
            continue
        if isinstance(header, Rejected):
            rejected.append(header)
        elif header is not None:
            records.append(_record(name, header))
        elif path.suffix.lower() in DICOM_SUFFIXES:
            rejected.append(Rejected(source_path=name, reason="not-dicom", message="named as DICOM, but is none"))
        else:
            others.append(name)
    notes = [f"{len(others):,} files that are no DICOM images were left out, such as {others[0]}"] if others else []
    return Release(labels=(), records=records, rejected=rejected, notes=notes)


def _header(files: SourceFiles, name: str) -> dict[str, str] | Rejected | None:
    """The listed fields of a header as text; None for a file that is no DICOM."""
    with files.open(name) as file:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
            found = {tag: _text(header.get(tag)) for tag in TAGS}
        except InvalidDicomError:
            return None
        except OSError:
            raise
        except Exception as error:  # a damaged header shows as any exception of pydicom
            message = f"DICOM header: {type(error).__name__}"
            return Rejected(source_path=name, reason="damaged", message=message)
    if found["Modality"] not in MODALITIES:
        message = f"DICOM of modality {found['Modality']}, not a radiograph"
        return Rejected(source_path=name, reason="other-modality", message=message)
    if not found["Rows"] or not found["Columns"]:
        return Rejected(source_path=name, reason="no-pixels", message="DICOM without an image")
    return found


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _record(name: str, header: dict[str, str]) -> Record:
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]
    patient = header["PatientID"] or f"unknown-{digest}"  # anonymised to nothing: a patient of its own
    view, projection = parse_view(header["ViewPosition"])
    return Record(
        key=f"dicom-{digest}",
        name=name,
        source_path=name,
        split="train",
        patient_id=patient,
        study_id=header["StudyInstanceUID"] or f"{patient}/{digest}",
        view=view,
        projection=projection,
        sex=parse_sex(header["PatientSex"]),
        age=parse_age(header["PatientAge"]),
    )
