"""What builds refused, each file with its reason: the text of ``python -m shards stats --rejected``."""

from collections.abc import Sequence
from pathlib import Path

from shards.format.manifest import MANIFEST
from shards.format.rejected import FILE, read_rejected
from shards.index import ShardIndex


def rejected_text(folders: Sequence[Path]) -> str:
    """The refused files of datasets, of the members of views, and of builds that refused too many, by reason.

    Raises:
        InputError: a folder that is none of these.
    """
    return "\n\n".join(_of_folder(place) for folder in folders for place in _places(folder))


def _places(folder: Path) -> list[Path]:
    """The folders with such a list."""
    if (folder / FILE).is_file() and not (folder / MANIFEST).is_file():  # a build that failed
        return [folder]
    places = []
    for packed in ShardIndex.open(folder).packed:
        if packed.remote is not None:
            packed.remote.open_file(FILE).close()
        places.append(packed.folder)
    return places


def _of_folder(folder: Path) -> str:
    rows = read_rejected(folder).to_pylist()
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        by_reason.setdefault(row["reason"], []).append(f"    {row['source_path']}: {row['message']}")
    lines = [f"{folder}: {len(rows):,} rejected"]
    for reason, told in sorted(by_reason.items()):
        lines += [f"  {reason}: {len(told):,}", *told]
    return "\n".join(lines)
