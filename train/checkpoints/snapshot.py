"""A folder of tensors that is there whole or not at all, and says when it is broken.

Files are written into a folder of :func:`shards.base.atomic.begin_folder`; the last of them is ``complete.json`` with
the size and the CRC-32 of each; then the folder takes its name.
"""

import io
import json
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shards.base.atomic import atomic_file, atomic_write, commit_folder, part_of
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from shards.base.stored import read_digested, read_file, with_digest
from shards.base.words import reason_of
from train.checkpoints.place import MARK

FORMAT = 2


class BrokenSnapshot(Exception):
    """A folder that cannot be read back; the message says why."""


@dataclass(frozen=True, kw_only=True)
class _Files:
    """Size and CRC-32 of each file beside the mark."""

    files: dict[str, tuple[int, int]]


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Saves nested dictionaries of tensors, on any device, and numbers; on the disk when this returns.

    Raises:
        OSError, RuntimeError: torch says the one or the other where the disk is full.
    """
    with atomic_file(path) as file:
        torch.save(_on_cpu(content), file)


def seal(folder: Path, mark: dict[str, Any]) -> None:
    """Gives the written files of ``folder`` their place, with ``mark`` beside them."""
    part = part_of(folder)
    files = {path.name: _fingerprint(path) for path in sorted(part.iterdir())}
    atomic_write(part / MARK, json.dumps(with_digest({"format": FORMAT, **mark, "files": files}), indent=1))
    remove(folder)
    commit_folder(folder)


def read_mark(folder: Path) -> dict[str, Any]:
    """What :func:`seal` was given, once all files are there in their sizes.

    Raises:
        BrokenSnapshot: something is missing, cut off or of another format.
    """
    try:
        mark = read_digested(folder / MARK)
        if mark.get("format") != FORMAT:
            raise BrokenSnapshot(f"format {mark.get('format', 1)}, not {FORMAT}")
        for name, (size, _) in from_written(_Files, mark, unknown="ignore").files.items():
            if (folder / name).stat().st_size != size:
                raise BrokenSnapshot(f"{name} is not of {size} bytes")
    except InputError as error:
        raise BrokenSnapshot(f"{MARK}: {error}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero in it
        raise BrokenSnapshot(_reason(error)) from None
    return mark


def read_tensors(folder: Path, name: str, mark: dict[str, Any]) -> Any:
    """What :func:`write_tensors` was given, on the CPU.

    Raises:
        BrokenSnapshot: the file has changed or cannot be read.
    """
    try:
        content = read_file(folder / name)
        if name not in mark["files"] or zlib.crc32(content) != mark["files"][name][1]:
            raise BrokenSnapshot(f"{name} does not have its checksum")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except BrokenSnapshot:
        raise
    except Exception as error:  # torch.load says what is wrong with a file in many kinds
        raise BrokenSnapshot(f"{name}: {_reason(error)}") from None


def remove(folder: Path) -> None:
    """Removes a folder, its mark first: a kill in between leaves none that looks whole."""
    (folder / MARK).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def num_bytes(content: Any) -> int:
    """What the tensors of nested dictionaries take."""
    if isinstance(content, dict):
        return sum(num_bytes(value) for value in content.values())
    return content.numel() * content.element_size() if isinstance(content, torch.Tensor) else 0


def _on_cpu(content: Any) -> Any:
    """Nested dictionaries with their tensors copied to the CPU, each with no more memory behind it than it needs."""
    if isinstance(content, dict):
        return {name: _on_cpu(value) for name, value in content.items()}
    if not isinstance(content, torch.Tensor):
        return content
    own = content.detach().to("cpu", copy=True)
    return own.clone() if own.untyped_storage().nbytes() > own.numel() * own.element_size() else own


def _fingerprint(path: Path) -> tuple[int, int]:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            crc = zlib.crc32(block, crc)
    return path.stat().st_size, crc


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{Path(str(error.filename)).name}: {error.strerror}"
    return reason_of(error)
