"""One shard: the unit of work. Which records it holds follows from the records and the seed alone, so its bytes do not
depend on where, when and in which order shards are written.

A shard is a tar, its DALI index, and in ``OUTPUT/.build`` the tables of its rows and of its rejections; the table of
rows is written last and marks the shard as finished.
"""

import errno
import itertools
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from shards.base.atomic import atomic_file, atomic_write
from shards.base.errors import InputError, writing
from shards.base.words import reason_of
from shards.format.manifest import Checksum, file_checksum
from shards.format.schema import FINGERPRINT, REJECTED_SCHEMA, index_schema, table_from_rows
from shards.format.tar import dali_index, write_tar
from shards.images.fingerprint import fingerprints
from shards.images.store import ImageError, ImageSpec, StoredImage, store_image
from shards.packing.progress import SUFFIX as PROGRESS_SUFFIX
from shards.packing.progress import ShardProgress
from shards.packing.pseudonym import WITHHELD, Pseudonyms
from shards.sources.files import SourceFiles
from shards.sources.record import Record, Rejected

WORK = ".build"
CONTINUES = "it continues behind the finished shards"
_OWN_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # of this machine, not of the image
_SHARE_TROUBLE = (errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.EHOSTDOWN)
NOT_STORED = ("name", "is_patient_known")  # fields of a record that change nothing in the index
_RECORD_COLUMNS = tuple(field.name for field in fields(Record) if field.name not in (*NOT_STORED, "labels"))
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, kw_only=True)
class Packing:
    """What all shards of a build share."""

    files: SourceFiles
    spec: ImageSpec
    dataset: str
    labels: tuple[str, ...]
    output: Path
    pseudonyms: Pseudonyms | None = None


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Records in the order in which they are packed; ``sizes`` are their files' bytes when the build was planned, None
    for files that were missing or unreadable then."""

    name: str
    records: tuple[Record, ...]
    sizes: tuple[int | None, ...]


def write_shard(shard: Shard, packing: Packing, *, threads: int = 1) -> int:
    """Writes one shard and returns its number of records. One image a thread is in memory at a time.

    Raises:
        InputError: a source file changed since the build was planned, no space left, an output that is read-only.
    """
    rows: list[dict[str, Any]] = []
    thumbnails: list[bytes] = []
    rejected: list[Rejected] = []
    output, work = packing.output, packing.output / WORK

    def samples() -> Iterator[tuple[str, bytes]]:
        pairs = zip(shard.records, shard.sizes, strict=True)
        results = in_order(lambda pair: pack_image(pair[0], pair[1], packing), pairs, threads=threads)
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
        table = table_from_rows(rows, index_schema(packing.labels))
        table = table.replace_schema_metadata(
            (table.schema.metadata or {}) | {b"files": json.dumps(checksums).encode()}
        )
        write_table(table, work / f"{shard.name}.parquet", scratch=work)
    return len(shard.records)


def pack_image(record: Record, size: int | None, packing: Packing) -> StoredImage | Rejected:
    """The stored form of a record's image, or why there is none.

    Raises:
        InputError: the file is not of ``size`` bytes, as it was when the build was planned.
    """
    name = record.name
    try:
        data = packing.files.read(name)
        if len(data) != size:
            raise _changed(record, packing)
        return store_image(data, packing.spec)
    except ImageError as error:
        reason, message = error.reason, str(error)
    except FileNotFoundError as error:
        if size is not None:
            raise _changed(record, packing) from (None if packing.pseudonyms else error)
        reason, message = "missing", "listed by the release, but there is no such file"
    except _Changed:
        raise
    except InputError as error:
        reason, message = "bad-path", str(error)
    except OSError as error:
        if error.errno in (*_OWN_TROUBLE, *_SHARE_TROUBLE):
            raise
        reason, message = "unreadable", reason_of(error)
    message = WITHHELD if packing.pseudonyms else message
    return Rejected(source_path=record.source_path, reason=reason, message=message)


def in_order(function: Callable[[_T], _R], items: Iterable[_T], *, threads: int) -> Iterator[_R]:
    """``map`` in threads, which are for codecs that release Python's lock; at most two results a thread wait."""
    if threads == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[_R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def finished_checksums(name: str, output: Path) -> dict[str, Checksum] | None:
    """The checksums of a shard's files, by name, if it is finished and they are there; None if it is to be written."""
    try:
        metadata = pq.read_schema(output / WORK / f"{name}.parquet").metadata or {}
        checksums: dict[str, Checksum] = json.loads(metadata[b"files"])
        whole = all((output / file).stat().st_size == about["bytes"] for file, about in checksums.items())
    except (FileNotFoundError, KeyError):
        return None
    return checksums if whole else None


def write_table(table: pa.Table, path: Path, *, scratch: Path | None = None) -> None:
    """Writes a Parquet file, which is whole or absent whatever happens."""
    with atomic_file(path, scratch=scratch) as file:
        pq.write_table(table, file, compression="zstd")


class _Changed(InputError):
    pass


def _changed(record: Record, packing: Packing) -> _Changed:
    name = record.source_path if packing.pseudonyms else record.name
    return _Changed(
        f"--input: {name} has changed since this build began; put it back as it was, "
        "or remove the output folder to begin anew"
    )


def _row(record: Record, image: StoredImage, tar: str, dataset: str) -> dict[str, Any]:
    return {
        **{name: getattr(record, name) for name in _RECORD_COLUMNS},
        **record.labels,
        "dataset": dataset,
        "width": image.width,
        "height": image.height,
        "source_width": image.source_width,
        "source_height": image.source_height,
        "shard": tar,
        "crc32": zlib.crc32(image.data),
    }
