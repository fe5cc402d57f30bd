"""One shard: the unit of work. Which records it holds follows from the records and the seed alone, so its bytes do not
depend on where, when and in which order shards are written.

A shard is a tar, its DALI index, and in ``OUTPUT/.build`` the tables of its rows and of its rejections; the table of
rows is written last and marks the shard as finished.
"""

import itertools
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from shards.base.atomic import atomic_file, atomic_write
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError, writing
from shards.base.stored import parse_json, read_parquet
from shards.format.boxes import BOXES, as_rows
from shards.format.manifest import Checksum, file_checksum
from shards.format.schema import FINGERPRINT, REJECTED_SCHEMA, SOURCE_HASH, index_schema, table_from_rows
from shards.format.tar import dali_index, write_tar
from shards.images.fingerprint import fingerprints
from shards.images.store import StoredImage
from shards.packing import image
from shards.packing.image import Packing
from shards.packing.progress import SUFFIX as PROGRESS_SUFFIX
from shards.packing.progress import ShardProgress
from shards.sandbox.sandbox import Limits, Lost, Sandbox
from shards.sources.record import Record, Rejected

WORK = ".build"
CONTINUES = "it continues behind the finished shards"
_TOGETHER_SECONDS = 10.0  # of the processor an image; what takes longer is judged by itself
NOT_STORED = ("name", "is_patient_known", "box_frame")  # fields of a record that are no columns of the index
_RECORD_COLUMNS = tuple(
    field.name for field in fields(Record) if field.name not in (*NOT_STORED, "labels", BOXES, "kept")
)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Records in the order in which they are packed; ``sizes`` are their files' bytes when the build was planned, None
    for files that were missing or unreadable then."""

    name: str
    records: tuple[Record, ...] = field(repr=False)  # Dask logs the arguments of what fails, and records know paths
    sizes: tuple[int | None, ...] = field(repr=False)


def write_shard(shard: Shard, packing: Packing, *, processes: int = 1) -> int:
    """Writes one shard and returns its number of records. ``processes`` decode images, each one at a time.

    One process does all of it, at no cost an image, and may die of a file; then the images are decoded again, each
    judged by itself.

    Raises:
        InputError: a source file changed since the build was planned, no space left, an output that is read-only.
        Killed: a process that decodes was killed from outside.
    """
    limits = image.LIMITS
    if processes == 1:
        least = replace(limits, seconds=min(limits.seconds, _TOGETHER_SECONDS))
        with Sandbox(partial(_write_here, packing=packing, limits=least), replace(limits, seconds=0)) as sandbox:
            [done] = sandbox.map([shard])
        if not isinstance(done, Lost):
            return len(shard.records)
    _write(shard, packing, image.pack_images(shard.records, shard.sizes, packing, processes=processes, limits=limits))
    return len(shard.records)


def _write_here(shard: Shard, *, packing: Packing, limits: Limits) -> None:
    _write(shard, packing, image.pack_images_here(shard.records, shard.sizes, packing, limits))


def _write(shard: Shard, packing: Packing, results: Iterator[StoredImage | Rejected]) -> None:
    rows: list[dict[str, Any]] = []
    thumbnails: list[bytes] = []
    rejected: list[Rejected] = []
    output, work = packing.output, packing.output / WORK

    def samples() -> Iterator[tuple[str, bytes]]:
        for record, result in zip(shard.records, results, strict=True):
            progress.add()
            if isinstance(result, Rejected):
                rejected.append(result)
                continue
            rows.append(_row(record, result, f"{shard.name}.tar", packing.dataset))
            thumbnails.append(result.thumbnail)
            yield f"{record.key}.{packing.spec.extension}", result.data

    with writing(output, then=CONTINUES), ShardProgress(work / f"{shard.name}{PROGRESS_SUFFIX}") as progress:
        checksums: dict[str, Checksum] = {}
        packed = samples()
        first = next(packed, None)
        if first is not None:  # readers stumble over a tar without samples
            tar, index = output / f"{shard.name}.tar", output / f"{shard.name}.idx"
            entries = write_tar(tar, itertools.chain([first], packed), scratch=work)
            atomic_write(index, dali_index(entries), scratch=work)
            checksums = {path.name: file_checksum(path) for path in (tar, index)}
            for row, entry, mark in zip(rows, entries, fingerprints(thumbnails), strict=True):
                row |= {"offset": entry.offset, "length": entry.length, FINGERPRINT: mark}
        assert len(rows) + len(rejected) == len(shard.records), "images in = images packed + images rejected"
        refused = table_from_rows([asdict(r) for r in rejected], REJECTED_SCHEMA)
        write_table(refused, work / f"{shard.name}.rejected", scratch=work)
        schema = index_schema(packing.labels, kept=packing.kept, has_boxes=packing.has_boxes)
        table = table_from_rows(rows, schema)
        table = table.replace_schema_metadata(
            (table.schema.metadata or {}) | {b"files": json.dumps(checksums).encode()}
        )
        write_table(table, work / f"{shard.name}.parquet", scratch=work)


def finished_checksums(name: str, output: Path) -> dict[str, Checksum] | None:
    """The checksums of a shard's files, by name, if it is finished and they are there; None if it is to be written."""
    try:
        table, _ = (read_parquet(output / WORK / f"{name}.{kind}") for kind in ("parquet", "rejected"))
        checksums = parse_json((table.schema.metadata or {}).get(b"files", b""))
        files = from_written(_Files, {"files": checksums}).files
        whole = all((output / file).stat().st_size == about.bytes for file, about in files.items())
    except (InputError, FileNotFoundError):
        return None
    return dict(checksums) if whole else None


@dataclass(frozen=True, kw_only=True)
class _File:
    bytes: Annotated[int, Field(ge=0)]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class _Files:
    """Of a shard that is finished."""

    files: dict[str, _File]


def write_table(table: pa.Table, path: Path, *, scratch: Path | None = None) -> None:
    """Writes a Parquet file, which is whole or absent whatever happens."""
    with atomic_file(path, scratch=scratch) as file:
        pq.write_table(table, file, compression="zstd")


def _row(record: Record, image: StoredImage, tar: str, dataset: str) -> dict[str, Any]:
    return {
        **{name: getattr(record, name) for name in _RECORD_COLUMNS},
        **record.labels,
        **record.kept,
        BOXES: as_rows(image.boxes),
        "dataset": dataset,
        "width": image.width,
        "height": image.height,
        "source_width": image.source_width,
        "source_height": image.source_height,
        "shard": tar,
        "crc32": zlib.crc32(image.data),
        SOURCE_HASH: image.source_hash,
    }
