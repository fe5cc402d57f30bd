"""What a source hands to the build: a release, read from lists and folder names only."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shards.record import Record, Rejected

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a source found: the label names in the release's own words and order, records, rejections, and notes
    (plain sentences for the user about what is not in this copy of the release)."""

    labels: tuple[str, ...]
    records: list[Record]
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def image_files(folder: Path) -> Iterator[Path]:
    """Image files below ``folder``, by suffix, in sorted order; hidden files and folders are passed over."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield path
