"""What a DICOM header says of an image: whose it is, from which side, and whether it is a radiograph at all.

Read are patient, study, sex, age, view position, and what kind of image it is; for a join also the element that is
joined by, which is not stored. pydicom is imported where headers are read: most releases have none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from shards.base.errors import InputError
from shards.base.words import reason_of
from shards.images.dicom.signature import MODALITIES, SNIFFED, is_dicom
from shards.images.refusal import ImageError, of_lost
from shards.sandbox.sandbox import Limits, Lost, Sandbox
from shards.sources.files import SourceFiles
from shards.sources.record import Record, Rejected
from shards.sources.release import DICOM_SUFFIXES, IMAGE_SUFFIXES
from shards.sources.words.patient import parse_age, parse_patient, parse_sex
from shards.sources.words.view import parse_view

LIMITS = Limits()
UNREADABLE, BAD_PATH = "unreadable", "bad-path"
_CLASS = "SOPClassUID"
_TAGS = (
    *("PatientID", "StudyInstanceUID", "PatientSex", "PatientAge", "ViewPosition", "Modality", "Rows", "Columns"),
    "BurnedInAnnotation",
)
Header = dict[str, str]


def may_be_dicom(name: str) -> bool:
    """Whether a file is no picture of another kind by its name."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in DICOM_SUFFIXES or suffix not in IMAGE_SUFFIXES


def read_headers(
    files: SourceFiles, names: Sequence[str], also: Sequence[str] = ()
) -> Iterator[Header | Rejected | None]:
    """The elements of each file's header as text, with ``also`` others; None for a file that is no DICOM. They are read
    in a process of their own: a short file can nest without end, or be inflated to one of any size."""
    with Sandbox(partial(_read, files=files, also=tuple(also)), LIMITS) as sandbox:
        for name, found in zip(names, sandbox.map(names), strict=True):
            if isinstance(found, Lost):
                found = of_lost(found, LIMITS)
            if isinstance(found, ImageError):
                yield Rejected(source_path=name, reason=found.reason, message=str(found))
            else:
                yield found


def _read(name: str, *, files: SourceFiles, also: tuple[str, ...]) -> Header | ImageError | None:
    from shards.images.dicom.header import open_header, texts

    tags = (*_TAGS, _CLASS, *also)
    try:
        with files.open(name) as file:
            if not is_dicom(file.read(SNIFFED)):
                return None
            file.seek(0)
            header = open_header(file, tags)
        found = {tag: "\\".join(texts(header, tag)) for tag in tags}
    except OSError as error:
        return ImageError(UNREADABLE, reason_of(error))
    except InputError as error:  # a link out of the input
        return ImageError(BAD_PATH, str(error))
    except MemoryError:
        raise
    except Exception as error:  # a damaged header shows as any exception of pydicom
        return ImageError("damaged", f"DICOM whose header cannot be read ({type(error).__name__})")
    return found | {"PatientID": parse_patient(found["PatientID"])}


def pictureless_kind(header: Header) -> str:
    """What a file is that is not meant to hold an image; empty for images."""
    if header["Rows"] and header["Columns"]:
        return ""
    from pydicom.uid import UID

    kind = UID(header[_CLASS]).name
    if kind != header[_CLASS] and "Image" not in kind:
        return kind.removesuffix(" Storage")
    return f"modality {header['Modality']}" if header["Modality"] not in MODALITIES else ""


def refusal(name: str, header: Header) -> Rejected | None:
    """Why a file is no radiograph, if it is none."""
    if header["Modality"] not in MODALITIES:
        message = f"DICOM of modality {header['Modality']}, not a radiograph"
        return Rejected(source_path=name, reason="other-modality", message=message)
    if not header["Rows"] or not header["Columns"]:
        return Rejected(source_path=name, reason="no-pixels", message="DICOM without an image")
    return None


def described(header: Header) -> dict[str, Any]:
    """View, projection, sex and age, as fields of a record."""
    view, projection = parse_view(header["ViewPosition"])
    sex, age = parse_sex(header["PatientSex"]), parse_age(header["PatientAge"])
    return {"view": view, "projection": projection, "sex": sex, "age": age}


def with_headers(
    files: SourceFiles, records: Sequence[Record], *, patients: bool
) -> tuple[list[Record], list[Rejected]]:
    """Records of files that may be DICOM, with what their headers say of view, sex and age where the records say
    nothing; and those whose files are no radiographs, as rejections. A header that cannot be read changes nothing: the
    build meets the file again.

    Args:
        patients: also take patient and study from the headers.
    """
    headers = read_headers(files, [record.name for record in records if may_be_dicom(record.name)])
    told: list[Record] = []
    rejected: list[Rejected] = []
    for record in records:
        header = next(headers) if may_be_dicom(record.name) else None
        if isinstance(header, Rejected) and header.reason not in (UNREADABLE, BAD_PATH):
            rejected.append(replace(header, source_path=record.source_path))
        elif header is None or isinstance(header, Rejected):
            told.append(record)
        elif kind := pictureless_kind(header):
            message = f"DICOM without an image: {kind}"
            rejected.append(Rejected(source_path=record.source_path, reason="no-pixels", message=message))
        elif refused := refusal(record.source_path, header):
            rejected.append(refused)
        else:
            said = {name: value for name, value in described(header).items() if getattr(record, name) is None}
            if patients and header["PatientID"]:
                said |= {"patient_id": header["PatientID"], "is_patient_known": True}
                said |= {"study_id": header["StudyInstanceUID"] or record.study_id}
            told.append(replace(record, **said))
    return told, rejected
