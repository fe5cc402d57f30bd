"""Datasets with checksums that hold: what a test wrote or changed in a folder is made a part of the dataset."""

import json
from pathlib import Path
from typing import Any

from shards.format.manifest import MANIFEST, file_checksum, write_manifest


def seal(folder: Path, **changes: Any) -> Path:
    """Writes the checksums of the folder's files, as they are, into its ``dataset.json``, with other ``changes``."""
    about = json.loads((folder / MANIFEST).read_text()) | changes
    write_manifest(
        folder, about, {path.name: file_checksum(path) for path in folder.iterdir() if path.name != MANIFEST}
    )
    return folder
