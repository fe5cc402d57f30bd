"""Packing: a release becomes a dataset folder of tar shards, DALI indexes and a Parquet index.

The unit of work is a shard: which records it holds follows from the records and the seed alone, so the bytes do not
depend on the number of workers or on interruptions. A finished shard leaves its rows in ``OUTPUT/.build``; repeating
the command continues behind it.
"""

import hashlib
import json
import platform
import shutil
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from shards.errors import InputError
from shards.image import ImageError, ImageSpec, store_image
from shards.randomness import generator
from shards.record import Record, Rejected, short_hash
from shards.schema import FORMAT_VERSION, REJECTED_SCHEMA, TEXT_COLUMNS, index_schema, table_from_rows
from shards.sources import read_release
from shards.tar import dali_index, write_tar, write_text

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Packs a chest X-ray release into a dataset folder."""

    source: Literal["chexpert", "shenzhen", "nih", "folder"]
    """What the input is."""
    input: Path
    """Folder of the release, as it was unpacked."""
    output: Path
    """Dataset folder to write; an interrupted build there is continued."""
    name: str | None = None
    """Name of the dataset in its index; default: the output folder's."""
    size: int = 320
    """Shorter side of the stored images in pixels; smaller sources keep their size."""
    format: Literal["jpeg", "png"] = "jpeg"
    """Stored format: gray baseline JPEG, or lossless PNG."""
    quality: int = 95
    """JPEG quality."""
    seed: int = 0
    """Seed of the one permutation of rows within each split."""
    shard_images: int = 1024
    """Images a shard."""
    workers: int = -1
    """Processes; -1 takes all cores."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What a build came to: ``num_source = num_packed + num_rejected``."""

    num_source: int
    num_packed: int
    num_rejected: int
    num_bytes: int
    num_patients: int
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Shard:
    name: str
    records: Sequence[Record]


def build_dataset(config: BuildConfig) -> Totals:
    """Builds the dataset that ``config`` describes, or continues it, and returns its totals.

    Raises:
        InputError: an input that is no such release, an output folder that holds something else, no image that can be
            packed.
    """
    if config.shard_images < 1:
        raise InputError(f"--shard-images {config.shard_images}: must be at least 1")
    if config.workers == 0 or config.workers < -1:
        raise InputError(f"--workers {config.workers}: must be -1 (all cores) or at least 1")
    spec = ImageSpec(size=config.size, format=config.format, quality=config.quality)
    release = read_release(config.source, config.input)
    name = config.name or config.output.resolve().name
    records = _unique_keys(release.records)
    schema = index_schema(release.labels)
    shards = _plan(records, config)
    fingerprint = _fingerprint(records, release.labels, name, spec, config)
    work = _open_output(config.output, fingerprint)
    if work is not None:
        _write_shards(shards, config, spec, name, schema, work)
        _write_dataset(shards, release.rejected, config, spec, name, schema, fingerprint, work)
    return _read_totals(config.output, len(records) + len(release.rejected), tuple(release.notes))


def _unique_keys(records: list[Record]) -> list[Record]:
    counts = Counter(record.key for record in records)
    return [
        replace(record, key=f"{record.key}-{short_hash(record.source_path)}") if counts[record.key] > 1 else record
        for record in records
    ]


def _plan(records: Sequence[Record], config: BuildConfig) -> list[_Shard]:
    shards = []
    for number, split in enumerate(SPLITS):
        chosen = [record for record in records if record.split == split]
        order = generator("build", config.seed, number).permutation(len(chosen))
        for first in range(0, len(chosen), config.shard_images):
            picked = [chosen[i] for i in order[first : first + config.shard_images]]
            shards.append(_Shard(f"{split}-{first // config.shard_images:06d}", picked))
    return shards


def _fingerprint(
    records: Sequence[Record], labels: Sequence[str], name: str, spec: ImageSpec, config: BuildConfig
) -> str:
    digest = hashlib.sha256(repr((FORMAT_VERSION, labels, name, spec, config.seed, config.shard_images)).encode())
    for record in records:
        row = asdict(record) | {"path": None}  # where the release lies does not change the result
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def _open_output(output: Path, fingerprint: str) -> Path | None:
    """The folder of the unfinished build's rows, made if this is a new one; None if the dataset is complete."""
    finished, work = output / "dataset.json", output / ".build"
    plan = work / "plan.json"
    marker = finished if finished.is_file() else plan
    if marker.is_file():
        if json.loads(marker.read_text()).get("fingerprint") != fingerprint:
            raise InputError(
                f"--output {output}: holds a dataset of other input or options; choose another folder or remove it"
            )
        return None if marker is finished else work
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output}: exists and is not a dataset; choose a new or empty folder")
    work.mkdir(parents=True)
    write_text(plan, json.dumps({"fingerprint": fingerprint}))
    return work


def _write_shards(
    shards: list[_Shard], config: BuildConfig, spec: ImageSpec, name: str, schema: pa.Schema, work: Path
) -> None:
    todo = [shard for shard in shards if not (work / f"{shard.name}.parquet").is_file()]
    num_images = sum(len(shard.records) for shard in shards)
    num_done = num_images - sum(len(shard.records) for shard in todo)
    parallel = joblib.Parallel(n_jobs=config.workers, return_as="generator_unordered")
    tasks = (joblib.delayed(_write_shard)(shard, config.output, spec, name, schema, work) for shard in todo)
    with tqdm(total=num_images, initial=num_done, unit="img", desc=f"packing {name}") as progress:
        for num_records in parallel(tasks):
            progress.update(num_records)


def _write_shard(shard: _Shard, output: Path, spec: ImageSpec, name: str, schema: pa.Schema, work: Path) -> int:
    rows: list[dict[str, Any]] = []
    samples: list[tuple[str, bytes]] = []
    rejected: list[Rejected] = []
    for record in shard.records:
        try:
            image = store_image(record.path.read_bytes(), spec)
        except FileNotFoundError:
            message = "listed by the release, but there is no such file"
            rejected.append(Rejected(source_path=record.source_path, reason="missing", message=message))
        except ImageError as error:
            rejected.append(Rejected(source_path=record.source_path, reason=error.reason, message=str(error)))
        else:
            samples.append((f"{record.key}.{spec.extension}", image.data))
            rows.append(
                {
                    **asdict(record),
                    **record.labels,
                    "dataset": name,
                    "width": image.width,
                    "height": image.height,
                    "source_width": image.source_width,
                    "source_height": image.source_height,
                    "shard": f"{shard.name}.tar",
                    "crc32": zlib.crc32(image.data),
                }
            )
    entries = write_tar(output / f"{shard.name}.tar", samples)
    write_text(output / f"{shard.name}.idx", dali_index(entries))
    for row, entry in zip(rows, entries, strict=True):
        row |= {"offset": entry.offset, "length": entry.length}
    _write_table(table_from_rows([asdict(r) for r in rejected], REJECTED_SCHEMA), work / f"{shard.name}.rejected")
    _write_table(table_from_rows(rows, schema), work / f"{shard.name}.parquet")  # last: marks the shard as done
    return len(shard.records)


def _write_table(table: pa.Table, path: Path) -> None:
    aside = path.with_name(path.name + ".part")
    pq.write_table(table, aside, compression="zstd")
    aside.replace(path)


def _write_dataset(
    shards: list[_Shard],
    rejected: list[Rejected],
    config: BuildConfig,
    spec: ImageSpec,
    name: str,
    schema: pa.Schema,
    fingerprint: str,
    work: Path,
) -> None:
    tables = [pq.read_table(work / f"{shard.name}.parquet", schema=schema) for shard in shards]
    index = pa.concat_tables(tables).combine_chunks().replace_schema_metadata(schema.metadata)
    empty_texts = [text for text in TEXT_COLUMNS if index[text].null_count == len(index)]
    index = index.drop_columns(empty_texts)
    refused = [table_from_rows([asdict(r) for r in rejected], REJECTED_SCHEMA)]
    refused += [pq.read_table(work / f"{shard.name}.rejected") for shard in shards]
    all_refused = pa.concat_tables(refused).combine_chunks()
    if not len(index):
        shutil.rmtree(config.output)
        raise InputError(
            f"--input {config.input}: none of its {len(all_refused):,} images could be packed; "
            f"first: {all_refused['source_path'][0]}: {all_refused['message'][0]}"
        )
    _write_table(index, config.output / "index.parquet")
    _write_table(all_refused, config.output / "rejected.parquet")
    about = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "source": config.source,
        "image": asdict(spec),
        "labels": json.loads(schema.metadata[b"labels"]),
        "totals": {
            "source_images": len(index) + len(all_refused),
            "images": len(index),
            "rejected": len(all_refused),
            "patients": len(index["patient_id"].unique()),
            "bytes": int(np.sum(index["length"].to_numpy())),
            "images_by_split": dict(sorted(Counter(index["split"].to_pylist()).items())),
        },
        "fingerprint": fingerprint,
        "seed": config.seed,
        "shard_images": config.shard_images,
        "tools": {name: version(name) for name in ("moco-cxr", "pillow", "pyarrow")}
        | {"python": platform.python_version()},
    }
    write_text(config.output / "dataset.json", json.dumps(about, indent=2) + "\n")
    shutil.rmtree(work)


def _read_totals(output: Path, num_source: int, notes: tuple[str, ...]) -> Totals:
    totals = json.loads((output / "dataset.json").read_text())["totals"]
    reasons = Counter(pq.read_table(output / "rejected.parquet")["reason"].to_pylist())
    assert num_source == totals["images"] + totals["rejected"], "images in = images packed + images rejected"
    return Totals(
        num_source=num_source,
        num_packed=totals["images"],
        num_rejected=totals["rejected"],
        num_bytes=totals["bytes"],
        num_patients=totals["patients"],
        rejected_by_reason=dict(reasons),
        notes=notes,
    )
