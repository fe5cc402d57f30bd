"""``dataset.json``: what a dataset folder holds, with the checksum of each of its files and of itself.

``files`` maps the name of every other file to its bytes and SHA-256. ``digest`` is the SHA-256 of the JSON text with
the digest itself emptied, so that no byte of the folder can change unseen.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from shards.base.atomic import atomic_write
from shards.base.bounds import Count
from shards.base.dataclass_io import from_written
from shards.base.errors import MANIFEST as MANIFEST
from shards.base.errors import InputError
from shards.base.stored import parse_json, read_file
from shards.base.words import as_called
from shards.format.blank import Blank
from shards.format.schema import FORMAT_VERSION

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
        InputError: there is none, it cannot be read, is not JSON, or is damaged, or of another format version; it
            lists a file outside of the folder, or one without a size and SHA-256.
    """
    path = folder / MANIFEST
    text, about = _read(folder)
    found = about.get("format_version") if isinstance(about, dict) else None
    if found != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {found}, but this version of moco-cxr reads "
            f"{FORMAT_VERSION}; pack it again with: {as_called('shards build')}"
        )
    _check_files(path, about.get("files", {}))
    try:
        kind = _Derived if "members" in about else _Packed
        from_written(kind, {name: about[name] for name in kind.__dataclass_fields__ if name in about}, unknown="ignore")
        if "digest" in about and not _holds(text, about["digest"]):
            raise InputError("it was changed since it was written")
    except InputError as error:
        raise InputError(f"{path}: is damaged ({error}); copy it again, or pack the dataset again") from None
    return dict(about)


@dataclass(frozen=True, kw_only=True)
class _Image:
    format: Literal["jpeg", "png"]
    depth: Literal[8, 16] = 8


@dataclass(frozen=True, kw_only=True)
class _Totals:
    images: Count = 0
    rejected: Count = 0
    patients: Count = 0
    images_without_patient: Count = 0
    bytes: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, kw_only=True)
class _Packed:
    """What is read of a dataset with shards."""

    labels: tuple[str, ...]
    image: _Image
    fingerprint: str
    blanks: dict[str, Blank] = field(default_factory=dict)
    kept_columns: tuple[str, ...] = ()
    totals: _Totals = field(default_factory=_Totals)


@dataclass(frozen=True, kw_only=True)
class _Member:
    path: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class _Derived:
    """What is read of a subset or a merge."""

    members: tuple[_Member, ...]
    fingerprint: str
    dali: tuple[tuple[str, str], ...] = ()


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


def _read(folder: Path) -> tuple[bytes, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise InputError(f"dataset {folder}: no such folder; pack one with: {as_called('shards build')}")
    if not path.is_file():
        unfinished = (folder / ".build").is_dir()
        remedy = (
            "its build did not finish, repeat it"
            if unfinished
            else f"give the folder that `{as_called('shards build')}` wrote"
        )
        raise InputError(f"dataset {folder}: no {MANIFEST} there; {remedy}")
    try:
        text = _content(path)
        return text, parse_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}; copy it again, or pack the dataset again") from None


def _content(path: Path) -> bytes:
    return read_file(path, most=MOST_MANIFEST_BYTES)


def check_listed(path: Path, about: Mapping[str, Any]) -> None:
    """Holds a file of a dataset folder against its checksum in ``about``, what ``dataset.json`` says; early versions
    listed none.

    Raises:
        InputError: it was changed since it was written; in words that can follow its name.
        OSError: it cannot be read.
    """
    listed = about.get("files", {}).get(path.name)
    if listed is not None and listed != file_checksum(path):
        raise InputError(f"was changed since it was written: it has not the checksum in {MANIFEST}")


def digest_holds(folder: Path) -> bool:
    """Whether the folder's ``dataset.json`` is, byte for byte, what was written.

    Raises:
        InputError: it cannot be read.
    """
    path = folder / MANIFEST
    try:
        text = _content(path)
    except InputError as error:
        raise InputError(f"{path}: {error}; copy it again") from None
    try:
        about = parse_json(text)
    except InputError:
        return False
    return isinstance(about, dict) and _holds(text, about.get("digest"))


def _holds(text: bytes, digest: object) -> bool:
    try:
        emptied = _with_digest(text.decode(), str(digest), "")
    except ValueError:
        return False
    return hashlib.sha256(emptied.encode()).hexdigest() == digest


def _with_digest(text: str, old: str, new: str) -> str:
    before, found, after = text.rpartition(f'"digest": "{old}"')
    if not found:
        raise ValueError("no digest")
    return f'{before}"digest": "{new}"{after}'
