"""A tree of DICOM files: every image of a projection radiograph in it, whatever the files and folders are called.

Of the headers these are read, and nothing else: patient, study, sex, age, view position, and what kind of image it is.
The key of a sample is a hash of its path, because names of folders often are names of patients.
"""

import hashlib
from collections import Counter
from pathlib import PurePosixPath

from pydicom.uid import UID

from shards.base.errors import InputError
from shards.base.words import reason_of
from shards.images.dicom.header import MODALITIES, SNIFFED, is_dicom, open_header, texts
from shards.sources.files import SourceFiles
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected
from shards.sources.release import DICOM_SUFFIXES, Release
from shards.sources.words.patient import parse_age, parse_sex
from shards.sources.words.view import parse_view

TAGS = ("PatientID", "StudyInstanceUID", "PatientSex", "PatientAge", "ViewPosition", "Modality", "Rows", "Columns")
_CLASS = "SOPClassUID"


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the headers of all DICOM files; all is ``train``, and there are no labels.

    Files that are not DICOM are left out with a note, or rejected if they are named as DICOM; so are presentation
    states, reports and whatever else holds no image by its kind, which no archive's export is without. Images of other
    modalities, and images without pixels, are rejected.
    """
    records: list[Record] = []
    rejected: list[Rejected] = []
    others: list[str] = []
    pictureless: dict[str, str] = {}
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
        elif header is not None and (kind := _pictureless_kind(header)):
            pictureless[name] = kind
        elif header is not None and (refused := _refusal(name, header)):
            rejected.append(refused)
        elif header is not None:
            records.append(_record(name, header))
        elif path.suffix.lower() in DICOM_SUFFIXES:
            rejected.append(Rejected(source_path=name, reason="not-dicom", message="named as DICOM, but is none"))
        else:
            others.append(name)
    notes = [f"{len(others):,} files that are no DICOM images were left out, such as {others[0]}"] if others else []
    if pictureless:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(Counter(pictureless.values()).items()))
        example = next(iter(pictureless))
        notes.append(f"{len(pictureless):,} DICOM files that hold no image ({kinds}) were left out, such as {example}")
    return Release(labels=(), records=records, rejected=rejected, notes=notes)


def _header(files: SourceFiles, name: str) -> dict[str, str] | Rejected | None:
    """The listed fields of a header as text; None for a file that is no DICOM."""
    with files.open(name) as file:
        if not is_dicom(file.read(SNIFFED)):
            return None
        file.seek(0)
        try:
            header = open_header(file, (*TAGS, _CLASS))
        except OSError:
            raise
        except Exception as error:  # a damaged header shows as any exception of pydicom
            message = f"DICOM header: {type(error).__name__}"
            return Rejected(source_path=name, reason="damaged", message=message)
        return {tag: "\\".join(texts(header, tag)) for tag in (*TAGS, _CLASS)}


def _pictureless_kind(header: dict[str, str]) -> str:
    """What a file is that is not meant to hold an image; empty for images."""
    if header["Rows"] and header["Columns"]:
        return ""
    kind = UID(header[_CLASS]).name
    if kind != header[_CLASS] and "Image" not in kind:
        return kind.removesuffix(" Storage")
    return f"modality {header['Modality']}" if header["Modality"] not in MODALITIES else ""


def _refusal(name: str, header: dict[str, str]) -> Rejected | None:
    if header["Modality"] not in MODALITIES:
        message = f"DICOM of modality {header['Modality']}, not a radiograph"
        return Rejected(source_path=name, reason="other-modality", message=message)
    if not header["Rows"] or not header["Columns"]:
        return Rejected(source_path=name, reason="no-pixels", message="DICOM without an image")
    return None


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
        is_patient_known=bool(header["PatientID"]),
    )
