"""What a dataset says of itself, doubted before anything follows it: names of shards, and where images lie in them.

A dataset may come from anywhere. Its checksums say that it is whole, not that who made it meant well; so a row leads to
no file but a shard of its own folder, and to no byte outside of it. 223,414 rows take 15 ms.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.base.errors import InputError
from shards.format.boxes import BOX_TYPE, BOXES
from shards.format.manifest import is_plain
from shards.format.schema import FINGERPRINT
from shards.images.fingerprint import NUM_BYTES
from shards.images.refusal import MAX_PIXELS

MOST_INDEX_BYTES = 4_000_000_000
MOST_ROWS = 20_000_000
MOST_MEMBERS = 1_000
DEEPEST = 8  # derived datasets of derived ones
_MOST_IMAGE_BYTES = 4 * MAX_PIXELS
_ANEW = "it is damaged, or made to mislead: copy the dataset again from where you trust it, or pack it again"


def check_index_file(path: Path) -> None:
    """Refuses an ``index.parquet`` of more bytes or rows than any dataset has, before it is read into memory.

    Raises:
        InputError: it is too large, in words that can follow its name.
        OSError, ArrowException: it cannot be read.
    """
    num_bytes = path.stat().st_size
    about = pq.read_metadata(path)
    unpacked = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    if max(num_bytes, unpacked) > MOST_INDEX_BYTES or about.num_rows > MOST_ROWS:
        raise InputError(
            f"has {about.num_rows:,} rows in {max(num_bytes, unpacked):,} bytes; at most {MOST_ROWS:,} in "
            f"{MOST_INDEX_BYTES:,} are read; {_ANEW}"
        )


def shard_bytes(about: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of a dataset's shards by name, as its ``dataset.json`` says; none in one of an early version."""
    return {name: each["bytes"] for name, each in about.get("files", {}).items() if name.endswith(".tar")}


def check_rows(
    where: object, table: pa.Table, number: npt.NDArray[np.int64], sizes: Sequence[Mapping[str, int]]
) -> None:
    """Refuses rows that lead anywhere but to an image in a shard of their own dataset.

    Args:
        where: the dataset, for messages.
        number: of each row's packed dataset, (N,).
        sizes: of each packed dataset, the bytes of its shards by name; empty where it does not say.

    Raises:
        InputError: naming the first such row.
    """
    columns = {name: _integers(where, table, name) for name in ("offset", "length", "width", "height", "crc32")}
    if table["shard"].null_count or not pa.types.is_string(table["shard"].type):
        raise InputError(f"dataset {where}: index.parquet has rows without the name of a shard; {_ANEW}")
    if len(number) and not 0 <= number.min() <= number.max() < len(sizes):
        raise InputError(f"dataset {where}: index.parquet has rows of members that are not there; {_ANEW}")
    if _has_strange_fingerprints(table):
        raise InputError(f"dataset {where}: index.parquet has fingerprints that are not of {NUM_BYTES} bytes; {_ANEW}")
    _check_boxes(where, table)
    names = pc.dictionary_encode(table["shard"]).combine_chunks()
    shards, codes = names.dictionary.to_pylist(), np.asarray(names.indices, dtype=np.int64)
    used, inverse = np.unique(number * max(1, len(shards)) + codes, return_inverse=True)
    ends = np.array([_size(where, shards[code % len(shards)], sizes[code // len(shards)]) for code in used.tolist()])
    offset, length = columns["offset"], columns["length"]
    is_outside = (offset < 0) | (length < 1) | (length > _MOST_IMAGE_BYTES)
    if len(table):
        is_outside |= offset > ends[inverse] - length
    width, height = columns["width"], columns["height"]
    is_misshapen = (width < 1) | (height < 1) | (width > MAX_PIXELS) | (width * height > MAX_PIXELS)
    for wrong, what in ((is_outside, "bytes {} from {} on"), (is_misshapen, "{} x {} pixels")):
        if wrong.any():
            row = int(wrong.argmax())
            values = (length, offset) if wrong is is_outside else (width, height)
            said = what.format(*(f"{int(value[row]):,}" for value in values))
            inside = f" of {table['shard'][row].as_py()}, which has not so many" if wrong is is_outside else ""
            raise InputError(f"dataset {where}: index.parquet has {said}{inside} as the image of row {row}; {_ANEW}")


def _check_boxes(where: object, table: pa.Table) -> None:
    """Refuses boxes that lie outside of their image."""
    if BOXES not in table.column_names or table[BOXES].type != BOX_TYPE:
        return
    drawn = table[BOXES].combine_chunks()
    owners = pc.list_parent_indices(drawn).to_numpy()
    flat = pc.list_flatten(drawn)
    if flat.null_count:
        raise InputError(f"dataset {where}: index.parquet has boxes without content; {_ANEW}")
    for start, size, side in (("x", "width", "width"), ("y", "height", "height")):
        begin, length = (flat.field(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in (start, size))
        inside = (begin >= 0) & (length > 0) & (begin + length <= table[side].to_numpy()[owners] + 0.01)
        if not inside.all():  # also of what is no number
            row = int(owners[int(np.argmin(inside))])
            raise InputError(f"dataset {where}: index.parquet has a box outside of the image of row {row}; {_ANEW}")


def _has_strange_fingerprints(table: pa.Table) -> bool:
    if FINGERPRINT not in table.column_names:
        return False
    marks = table[FINGERPRINT]
    return marks.type != pa.binary() or bool(pc.any(pc.not_equal(pc.binary_length(marks), NUM_BYTES)).as_py())


def _integers(where: object, table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    column = table[name]
    if column.null_count or not pa.types.is_integer(column.type) or column.type == pa.uint64():
        raise InputError(f"dataset {where}: index.parquet has rows without a whole number as {name}; {_ANEW}")
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _size(where: object, shard: str, sizes: Mapping[str, int]) -> int:
    """Bytes of a shard."""
    if not is_plain(shard) or not shard.endswith(".tar"):
        raise InputError(
            f"dataset {where}: index.parquet names {shard[:80]!r} as a shard, which is no tar in its folder; {_ANEW}"
        )
    if sizes and shard not in sizes:
        raise InputError(
            f"dataset {where}: index.parquet names the shard {shard}, which dataset.json lists not; {_ANEW}"
        )
    return sizes.get(shard, 2**62)
