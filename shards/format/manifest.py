"""``dataset.json``: what a dataset folder holds, with the checksum of each of its files and of itself.

``files`` maps the name of every other file to its bytes and SHA-256. ``digest`` is the SHA-256 of the JSON text with
the digest itself emptied, so that no byte of the folder can change unseen.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shards.base.atomic import atomic_write
from shards.base.errors import InputError
from shards.format.schema import FORMAT_VERSION

MANIFEST = "dataset.json"
Checksum = dict[str, int | str]


def file_checksum(path: Path) -> Checksum:
    """``{"bytes": n, "sha256": hex}`` of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}


def write_manifest(
    folder: Path, about: Mapping[str, Any], files: Mapping[str, Checksum] | None = None, *, scratch: Path | None = None
) -> None:
    """Writes ``about`` to the folder's ``dataset.json`` with the checksums of its ``files`` and the digest;
    ``scratch`` as in :func:`shards.base.atomic.atomic_file`."""
    named = {name: value for name, value in about.items() if name not in ("files", "digest")}
    text = json.dumps(named | {"files": dict(sorted((files or {}).items())), "digest": ""}, indent=2) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    atomic_write(folder / MANIFEST, _with_digest(text, "", digest), scratch=scratch)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The contents of the folder's ``dataset.json``.

    Raises:
        InputError: there is none, it cannot be read, is not JSON, or is of another format version.
    """
    path = folder / MANIFEST
    try:
        about = _read(folder)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its rights and its disk") from None
    found = about.get("format_version") if isinstance(about, dict) else None
    if found != FORMAT_VERSION:
        raise InputError(
            f"dataset {folder}: format version {found}, but this version of moco-cxr reads "
            f"{FORMAT_VERSION}; pack it again with: python -m shards build"
        )
    return dict(about)


def _read(folder: Path) -> Any:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise InputError(f"dataset {folder}: no such folder; pack one with: python -m shards build")
    if not path.is_file():
        unfinished = (folder / ".build").is_dir()
        remedy = (
            "its build did not finish, repeat it"
            if unfinished
            else "give the folder that `python -m shards build` wrote"
        )
        raise InputError(f"dataset {folder}: no {MANIFEST} there; {remedy}")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:  # JSONDecodeError or UnicodeDecodeError
        raise InputError(f"{path}: not JSON ({error}); copy it again, or pack the dataset again") from None


def digest_holds(folder: Path) -> bool:
    """Whether the folder's ``dataset.json`` is, byte for byte, what was written."""
    try:
        text = (folder / MANIFEST).read_bytes().decode()
        digest = json.loads(text)["digest"]
        emptied = _with_digest(text, digest, "")
    except (ValueError, KeyError, TypeError):
        return False
    return hashlib.sha256(emptied.encode()).hexdigest() == digest


def _with_digest(text: str, old: str, new: str) -> str:
    before, found, after = text.rpartition(f'"digest": "{old}"')
    if not found:
        raise ValueError("no digest")
    return f'{before}"digest": "{new}"{after}'
