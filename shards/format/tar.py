"""Tar shards: USTAR, one image a sample, the same bytes for the same samples; and DALI's index of such a tar."""

import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from shards.base.atomic import atomic_file

_HEADER_BYTES = 512


class TarEntry(NamedTuple):
    """Where a sample's image lies in its tar: bytes ``offset`` to ``offset + length``."""

    name: str
    offset: int
    length: int


def write_tar(path: Path, samples: Iterable[tuple[str, bytes]], *, scratch: Path | None = None) -> list[TarEntry]:
    """Writes ``(name, data)`` samples to ``path``, which is whole or absent whatever happens; one sample is in memory
    at a time. Owner, times and modes are fixed. ``scratch`` as in :func:`shards.base.atomic.atomic_file`."""
    entries = []
    with (
        atomic_file(path, scratch=scratch) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, data in samples:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            entries.append(TarEntry(name, tar.offset + _HEADER_BYTES, len(data)))
            tar.addfile(member, BytesIO(data))
    return entries


def dali_index(entries: Iterable[TarEntry]) -> str:
    """The text of a DALI ``.idx`` file (version 1.2: extension, offset, size, name). DALI's WebDataset reader reads
    just the samples listed, so an index of some of a tar's samples is a selection without a copy."""
    lines = [f"{entry.name.rpartition('.')[2]} {entry.offset} {entry.length} {entry.name}" for entry in entries]
    return "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"
