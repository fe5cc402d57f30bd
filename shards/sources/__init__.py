"""The releases that can be packed: one file a source.

A source is a module with ``read(root) -> Release``. It reads lists and folder names only, never pixels, so it is fast
and needs no image library; missing or broken images are found by the build, which rejects them with a reason.
"""

from collections.abc import Callable
from pathlib import Path

from shards.errors import InputError
from shards.sources import chexpert, folder, nih, shenzhen
from shards.sources.release import Release

SOURCES: dict[str, Callable[[Path], Release]] = {
    "chexpert": chexpert.read,
    "folder": folder.read,
    "nih": nih.read,
    "shenzhen": shenzhen.read,
}


def read_release(source: str, root: Path) -> Release:
    """Reads the release at ``root`` with the named source.

    Raises:
        InputError: unknown source, missing folder, or a folder that is not such a release.
    """
    if source not in SOURCES:
        raise InputError(f"--source {source}: unknown; known sources: {', '.join(sorted(SOURCES))}")
    if not root.is_dir():
        raise InputError(f"--input {root}: no such folder; give the folder that holds the {source} release")
    release = SOURCES[source](root)
    if not release.records:
        raise InputError(f"--input {root}: no images of a {source} release found there; check --source and --input")
    return release
