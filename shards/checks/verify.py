"""Verification: is every byte of a dataset as it was packed?

Three layers, so that damage is found and also named: the SHA-256 of each file against ``dataset.json``; index, tars and
DALI indexes against one another, both ways; each image's checksum, decoding and size against its row. Expect about
2,000 images a second and core (320 px JPEG), most of it decoding.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.base.bar import Bar
from shards.base.children import local_workers
from shards.base.errors import InputError
from shards.base.stored import read_json_object
from shards.base.words import as_size
from shards.checks.verify_shard import ROW_COLUMNS, Damage, check_shard, difference
from shards.claims import DEEPEST, check_rows
from shards.datasets import member_folder, read_index
from shards.format.blank import UNKNOWN
from shards.format.manifest import MANIFEST, Checksum, digest_holds, file_checksum, is_plain, read_manifest
from shards.format.schema import BASE_COLUMNS, FINGERPRINT, REJECTED_SCHEMA, SOURCE_HASH
from shards.format.tar import dali_index
from shards.images.fingerprint import NUM_BYTES
from shards.index import ShardIndex
from shards.remote.address import require_here

_MANY_DAMAGES = 50


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was read, and the damage found, by file; none means that the dataset is whole."""

    num_files: int
    num_bytes: int
    num_images: int
    damages: tuple[Damage, ...]


def verify_dataset(folder: Path, *, workers: int = -1) -> Verification:
    """Checks every byte of a dataset; of a derived one, its own files and every byte of its members.

    Raises:
        InputError: there is no dataset in ``folder``, or its build did not finish; ``folder`` is an address.
    """
    if workers == 0 or workers < -1:
        raise InputError(f"--workers {workers}: must be -1 (all cores) or at least 1")
    require_here(folder, "verify")
    return _verify(folder, workers=workers, above=())


def _verify(folder: Path, *, workers: int, above: tuple[Path, ...]) -> Verification:
    about, damages = _read_trusted(folder)
    names = sorted({path.name for kind in ("tar", "idx", "parquet") for path in folder.glob(f"*.{kind}")})
    checksums: Mapping[str, Checksum] | None = None
    if about is not None:
        checksums = about.get("files", {})
        names = sorted({*names, *checksums})
    others = [name for name in names if not name.endswith(".tar") or (checksums is not None and name not in checksums)]
    damages += _check_files(folder, others, checksums)
    num_bytes = sum(path.stat().st_size for name in (MANIFEST, *names) if (path := folder / name).is_file())
    if about is not None and "members" in about:
        looked_at = Verification(num_files=1 + len(names), num_bytes=num_bytes, num_images=0, damages=tuple(damages))
        return _verify_derived(folder, about, looked_at, workers=workers, above=(*above, folder.resolve()))
    tables = _read_tables(folder, damages)
    index, rejected = tables["index.parquet"], tables["rejected.parquet"]
    if index is not None:
        damages += _check_index(index, about)
    if rejected is not None and not rejected.schema.equals(REJECTED_SCHEMA):
        damages.append(Damage(file="rejected.parquet", message=f"has columns {', '.join(rejected.schema.names)}"))
    if index is not None and rejected is not None and about is not None:
        damages += _check_totals(index, rejected, about)
    tars = [name for name in names if name.endswith(".tar") and name not in others]
    depth = None if about is None else about["image"].get("depth", 8)
    damages += _check_shards(folder, tars, index, checksums, depth, damages, workers)
    num_images = 0 if index is None else len(index)
    return Verification(
        num_files=1 + len(names), num_bytes=num_bytes, num_images=num_images, damages=tuple(sorted(set(damages)))
    )


def verification_text(folder: Path, found: Verification, *, seconds: float) -> str:
    """What was found, in lines of words; of many damages the first ones."""
    what = f"{found.num_images:,} images, {found.num_files:,} files, {as_size(found.num_bytes)}"
    if not found.damages:
        return f"{folder}: whole; {what} are as they were packed ({seconds:.1f} s)"
    num_files = len({damage.file for damage in found.damages})
    more = len(found.damages) - _MANY_DAMAGES
    return "\n".join(
        [
            f"{folder}: DAMAGED; {len(found.damages):,} findings in {num_files:,} files ({what} looked at)",
            *(f"  {damage.file}: {damage.message}" for damage in found.damages[:_MANY_DAMAGES]),
            *([f"  ... and {more:,} more"] if more > 0 else []),
            "  remedy: copy these files again from a whole copy of the dataset, or remove the folder and build "
            "it again",
        ]
    )


def _read_trusted(folder: Path) -> tuple[dict[str, Any] | None, list[Damage]]:
    """The folder's ``dataset.json`` if its digest holds, else None and the damage."""
    if not (folder / MANIFEST).is_file():
        if not (folder / "index.parquet").is_file() or (folder / ".build").is_dir():
            read_manifest(folder)  # raises: no dataset
        return None, [Damage(file=MANIFEST, message="missing")]
    if digest_holds(folder):
        return read_manifest(folder), []
    try:
        has_digest = "digest" in read_json_object(folder / MANIFEST)
    except InputError:
        has_digest = True
    why = "its bytes have changed (digest)" if has_digest else "has no checksums: it was packed by an older version"
    return None, [Damage(file=MANIFEST, message=why)]


def _check_files(folder: Path, names: Sequence[str], checksums: Mapping[str, Checksum] | None) -> list[Damage]:
    """Files against their checksums; where those cannot be trusted (None), nothing is said of the bytes here."""
    damages = []
    for name in names:
        path = folder / name
        if not path.is_file():
            damages.append(Damage(file=name, message="missing"))
        elif checksums is not None and name not in checksums:
            damages.append(Damage(file=name, message=f"is no part of the dataset: {MANIFEST} does not list it"))
        elif checksums is not None:
            try:
                messages = difference(file_checksum(path), checksums[name])
            except OSError as error:
                messages = [f"cannot be read ({error.strerror or error})"]
            damages += [Damage(file=name, message=message) for message in messages]
    return damages


def _read_tables(folder: Path, damages: list[Damage]) -> dict[str, pa.Table | None]:
    """The two tables; None for one that is damaged, which is added to ``damages`` if it is not yet there."""
    changed = {damage.file for damage in damages}
    tables: dict[str, pa.Table | None] = {}
    for name in ("index.parquet", "rejected.parquet"):
        tables[name] = None
        if name in changed:
            continue
        try:
            tables[name] = pq.read_table(folder / name)
        except FileNotFoundError:
            damages.append(Damage(file=name, message="missing"))
        except (pa.ArrowException, OSError, ValueError) as error:
            damages.append(Damage(file=name, message=f"cannot be read ({error})"))
    return tables


def _check_index(index: pa.Table, about: Mapping[str, Any] | None) -> list[Damage]:
    columns = dict(zip(index.schema.names, index.schema.types, strict=True))
    messages = [
        f"column {name} is {columns.get(name, 'missing')}, not {kind}"
        for name, kind in BASE_COLUMNS.items()
        if columns.get(name) != kind
    ]
    messages += [
        f"column {name} is blank in some rows" for name in ROW_COLUMNS if name in columns and index[name].null_count
    ]
    if FINGERPRINT in columns:  # datasets of earlier builds have none
        if columns[FINGERPRINT] != pa.binary():
            messages.append(f"column {FINGERPRINT} is {columns[FINGERPRINT]}, not {pa.binary()}")
        elif pc.any(pc.not_equal(pc.binary_length(index[FINGERPRINT]), NUM_BYTES)).as_py():
            messages.append(f"column {FINGERPRINT} has values that are not of {NUM_BYTES} bytes")
    if columns.get(SOURCE_HASH, pa.uint64()) != pa.uint64():
        messages.append(f"column {SOURCE_HASH} is {columns[SOURCE_HASH]}, not {pa.uint64()}")
    for label in about["labels"] if about else ():
        if columns.get(label) != pa.int8():
            messages.append(f"label {label}, which {MANIFEST} lists, has no column of int8")
        elif not pc.all(pc.is_in(index[label], pa.array([UNKNOWN, -1, 0, 1, None], pa.int8()))).as_py():
            messages.append(f"label {label} has values other than {UNKNOWN}, -1, 0, 1 and blank")
    if not messages:
        try:
            check_rows("itself", index, np.zeros(len(index), dtype=np.int64), [{}])
        except InputError as error:
            messages.append(str(error).partition("index.parquet ")[2])
    return [Damage(file="index.parquet", message=message) for message in messages]


def _check_totals(index: pa.Table, rejected: pa.Table, about: Mapping[str, Any]) -> list[Damage]:
    found: dict[str, Any] = {
        "source_images": len(index) + len(rejected),
        "images": len(index),
        "rejected": len(rejected),
    }
    if set(BASE_COLUMNS) <= set(index.schema.names):
        found["patients"] = pc.count_distinct(index["patient_id"]).as_py()
        found["bytes"] = pc.sum(index["length"]).as_py() or 0
        found["images_by_split"] = dict(Counter(index["split"].to_pylist()))
    totals = about.get("totals", {})
    return [
        Damage(file=MANIFEST, message=f"says {name} {totals[name]}, but the tables come to {value}")
        for name, value in found.items()
        if name in totals and totals[name] != value
    ]


def _check_shards(
    folder: Path,
    tars: Sequence[str],
    index: pa.Table | None,
    checksums: Mapping[str, Checksum] | None,
    depth: int | None,
    known: Sequence[Damage],
    workers: int,
) -> list[Damage]:
    present = [name for name in tars if (folder / name).is_file()]
    damages = [Damage(file=name, message="missing") for name in tars if name not in present]
    rows = None
    if index is not None and not any(damage.file == "index.parquet" for damage in known):
        rows = index.select(ROW_COLUMNS).append_column("row", pa.array(np.arange(len(index))))
        gone = sorted(set(pc.unique(rows["shard"]).to_pylist()) - set(tars))
        damages += [Damage(file=name, message="missing, but index.parquet has images in it") for name in gone]
    changed = {damage.file for damage in known}

    def tasks() -> Iterator[Any]:
        for name in present:
            chosen = None if rows is None else rows.filter(pc.equal(rows["shard"], name))
            checksum = None if checksums is None else checksums[name]
            reads_idx = f"{name.removesuffix('.tar')}.idx" not in changed
            yield joblib.delayed(check_shard)(folder / name, chosen, checksum, depth=depth, reads_idx=reads_idx)

    bar = Bar(total=len(present), unit="shard", desc=f"verifying {folder.name}", leave=False)
    with local_workers(workers), bar as progress:
        for found in joblib.Parallel(return_as="generator_unordered")(tasks()):
            damages += found
            progress.update()
    return damages


def _verify_derived(
    folder: Path, about: Mapping[str, Any], own: Verification, *, workers: int, above: tuple[Path, ...]
) -> Verification:
    """A derived dataset's members, each whole and as it was; and of a subset, each row against its member's row.

    Args:
        own: of the files in the folder itself.
        above: this folder and those that it is a member of.
    """
    damages, num_files, num_bytes = list(own.damages), own.num_files, own.num_bytes
    for path in sorted({member_folder(folder, member) for member in about["members"]}):
        name = next(member["path"] for member in about["members"] if member_folder(folder, member) == path)
        try:
            if path.resolve() in above or len(above) > DEEPEST:
                raise InputError("is derived from itself; write it again")
            found = _verify(path, workers=workers, above=above)
        except InputError as error:
            damages.append(Damage(file=name, message=str(error)))
            continue
        damages += [Damage(file=f"{name}/{damage.file}", message=damage.message) for damage in found.damages]
        num_files, num_bytes = num_files + found.num_files, num_bytes + found.num_bytes
    num_images = 0
    if not damages:
        try:
            index = ShardIndex.open(folder)
        except InputError as error:
            damages.append(Damage(file=MANIFEST, message=str(error)))
        else:
            num_images = len(index)
            if (folder / "index.parquet").is_file():
                damages += _check_subset(folder, about, index)
    return Verification(
        num_files=num_files, num_bytes=num_bytes, num_images=num_images, damages=tuple(sorted(set(damages)))
    )


def _check_subset(folder: Path, about: Mapping[str, Any], subset: ShardIndex) -> list[Damage]:
    """A subset's rows against its members' rows, and its DALI indexes against its rows."""
    damages = []
    numbers = subset.packed_numbers()
    for number, packed in enumerate(subset.packed):
        mine, theirs = subset.take(numbers == number).table, read_index(packed.folder, read_manifest(packed.folder))
        places = pc.index_in(_identities(mine), value_set=_identities(theirs))
        if places.null_count:
            message = f"has {places.null_count} rows that {packed.folder} does not hold"
            damages.append(Damage(file="index.parquet", message=message))
    written = [dali_index(entries).encode() for entries in subset.dali_entries().values()]
    listed = [idx for _, idx in about.get("dali", ())]
    if not all(map(is_plain, listed)) or [(folder / idx).read_bytes() for idx in listed] != written:
        damages.append(Damage(file=MANIFEST, message="its DALI indexes do not list the images of index.parquet"))
    return damages


def _identities(table: pa.Table) -> pa.Array:
    """One text a row, of what tells its image from all others."""
    columns = [pc.cast(table[name], pa.string()) for name in ROW_COLUMNS]
    return pc.binary_join_element_wise(*columns, "\x1f").combine_chunks()
