"""``dataset.json``: what a dataset folder holds, with the checksum of each of its files and of itself.

``files`` maps the name of every other file to its bytes and SHA-256. ``digest`` is the SHA-256 of the JSON text with
the digest itself emptied, so that no byte of the folder can change unseen.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shards.base.atomic import atomic_write
from shards.base.errors import InputError
from shards.format.schema import FORMAT_VERSION

MANIFEST = "dataset.json"
MOST_MANIFEST_BYTES = 64_000_000  # lists some 400,000 files
Checksum = dict[str, int | str]


def is_plain(name: object) -> bool:
    """Whether a name that a dataset gives is that of a file in its own folder, and leads nowhere else."""
    return (
        isinstance(name, str)
        and name.isprintable()
        and 0 < len(name.encode()) <= 255
        and not name.startswith(".")
        and not set(name) & set("/\\?#")
    )


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
        InputError: there is none, it cannot be read, is not JSON, or is of another format version; it lists a file
            outside of the folder, or one without a size and SHA-256.
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
    _check_files(path, about.get("files", {}))
    return dict(about)


def _check_files(path: Path, files: object) -> None:
    entries = files.items() if isinstance(files, dict) else [(files, None)]
    for name, checksum in entries:
        found = checksum if isinstance(checksum, dict) else {}
        size, digest = found.get("bytes"), found.get("sha256")
        if not is_plain(name):
            what = f"lists {str(name)[:80]!r}, which is no name of a file in its folder"
        elif type(size) is not int or size < 0 or not isinstance(digest, str):
            what = f"has no size and SHA-256 of {name}"
        else:
            continue
        raise InputError(f"{path}: {what}; copy the dataset again from where you trust it, or pack it again")


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
        return json.loads(_content(path))
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; copy it again, or pack the dataset again") from None
    except ValueError as error:  # JSONDecodeError or UnicodeDecodeError
        raise InputError(f"{path}: not JSON ({error}); copy it again, or pack the dataset again") from None


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MOST_MANIFEST_BYTES:
            raise InputError(f"{path}: has more than {MOST_MANIFEST_BYTES:,} bytes, as no dataset has; copy it again")
        return file.read()


def digest_holds(folder: Path) -> bool:
    """Whether the folder's ``dataset.json`` is, byte for byte, what was written."""
    try:
        text = _content(folder / MANIFEST).decode()
        digest = json.loads(text)["digest"]
        emptied = _with_digest(text, digest, "")
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return hashlib.sha256(emptied.encode()).hexdigest() == digest


def _with_digest(text: str, old: str, new: str) -> str:
    before, found, after = text.rpartition(f'"digest": "{old}"')
    if not found:
        raise ValueError("no digest")
    return f'{before}"digest": "{new}"{after}'
