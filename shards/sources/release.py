"""What a source hands to the build: a release, read from lists and folder names only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from shards.format.blank import Blank
from shards.sources.files import SourceFiles
from shards.sources.record import Record, Rejected, printable

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic"})
IMAGE_SUFFIXES = DICOM_SUFFIXES | {".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".bmp", ".gif", ".pgm"}
IMAGE_SUFFIXES |= {".tif", ".tiff", ".webp", ".npy"}


class Note(str):
    """A plain sentence for the user about what is not in this copy of the release, or was understood otherwise.

    ``bare`` is what it says without names of files, values of headers and words of lists, for builds that hide who the
    patients are; default: all of it. ``is_cause``: it says why rows were refused.
    """

    bare: str
    is_cause: bool

    def __new__(cls, text: str, *, bare: str | None = None, is_cause: bool = False) -> "Note":
        note = super().__new__(cls, printable(text))
        note.bare = str(note) if bare is None else bare
        note.is_cause = is_cause
        return note


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a source found: the label names in the release's own words and order, records, rejections, and notes.
    ``kept`` are the columns of ``Record.kept``.
    ``found_labels`` are the labels whose names neither the release's publication nor the user gives, such as names of
    folders. ``blanks``, what each label means where it is blank, is filled in by
    :func:`shards.sources.registry.read_release`."""

    labels: tuple[str, ...]
    records: list[Record]
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    kept: tuple[str, ...] = ()
    found_labels: frozenset[str] = frozenset()
    blanks: Mapping[str, Blank] = field(default_factory=dict)


def image_names(files: SourceFiles) -> list[str]:
    """The files that are images by their suffix, in sorted order."""
    return [name for name in files.names() if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]


def around(files: SourceFiles) -> list[str]:
    """Where a release's root can be: the input itself (``""``), then the folders directly below (``"folder/"``),
    because zips and users often put one folder around it."""
    return ["", *(f"{folder}/" for folder in files.folders())]


def read_text(files: SourceFiles, name: str) -> str:
    """A text that comes with an image; empty where it is missing or cannot be read."""
    try:
        return files.read(name).decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    except OSError:
        return ""
