"""Is one shard as it was packed? Its bytes against their checksum, its members against the index and the DALI index,
and each image against its row: CRC-32, decoding, size."""

import io
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from shards.format.manifest import Checksum, file_checksum
from shards.format.tar import TarEntry, dali_index

ROW_COLUMNS = ("key", "shard", "offset", "length", "crc32", "width", "height")
_MODES = {8: "L", 16: "I;16"}
_FORMATS = {"jpg": "JPEG", "png": "PNG"}


@dataclass(frozen=True, kw_only=True, order=True)
class Damage:
    """One thing that is not as it was packed: the file's name in the dataset folder, and what is wrong."""

    file: str
    message: str


def check_shard(
    path: Path, rows: pa.Table | None, checksum: Checksum | None, *, depth: int | None, reads_idx: bool
) -> list[Damage]:
    """Damage of a tar, and of the DALI index beside it where ``reads_idx``.

    Args:
        rows: :data:`ROW_COLUMNS` and the number ``row`` of the tar's images; None if the index cannot be trusted.
        checksum: what ``dataset.json`` says of the tar; None if that cannot be trusted.
        depth: bits of a gray level, by the same.
    """
    entries: list[TarEntry] = []
    try:
        messages = _check_tar(path, rows, checksum, depth, entries)
    except OSError as error:
        messages = [f"cannot be read ({error.strerror or error})"]
    damages = [Damage(file=path.name, message=message) for message in messages]
    if reads_idx and not damages:
        idx = path.with_suffix(".idx")
        if not idx.is_file():
            damages.append(Damage(file=idx.name, message=f"missing: the DALI index of {path.name}"))
        elif idx.read_bytes() != dali_index(entries).encode():
            damages.append(Damage(file=idx.name, message=f"does not list the images of {path.name} as they lie there"))
    return damages


def _check_tar(
    path: Path, rows: pa.Table | None, checksum: Checksum | None, depth: int | None, entries: list[TarEntry]
) -> list[str]:
    """What is wrong with a tar, whose members are added to ``entries``."""
    messages = difference(file_checksum(path), checksum) if checksum is not None else []
    try:
        with tarfile.open(path) as tar:
            entries += [TarEntry(member.name, member.offset_data, member.size) for member in tar]
    except (tarfile.TarError, ValueError, EOFError) as error:
        messages.append(f"cannot be read as a tar ({error})")
    if rows is None:
        return messages
    images = rows.to_pylist()
    messages += _check_members(entries, images)
    names = {entry.offset: entry.name for entry in entries}
    with path.open("rb") as file:  # not mapped: a bad disk would then end the process (SIGBUS)
        for image in images:
            file.seek(max(0, image["offset"]))
            messages += _check_image(file.read(max(0, image["length"])), image, names.get(image["offset"]), depth)
    return messages


def difference(found: Checksum, wanted: Checksum) -> list[str]:
    """What to say where two checksums of a file differ; nothing where they are equal."""
    if found == wanted:
        return []
    if found["bytes"] != wanted["bytes"]:
        return [f"has {found['bytes']:,} bytes, not {wanted['bytes']:,}"]
    return ["its bytes have changed (SHA-256)"]


def _check_members(entries: Sequence[TarEntry], images: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tar's members against the index, both ways."""
    in_tar = {(entry.name.rpartition(".")[0], entry.offset, entry.length) for entry in entries}
    in_index = {(image["key"], image["offset"], image["length"]) for image in images}
    messages = [f"image {key} at byte {offset} is not in index.parquet" for key, offset, _ in sorted(in_tar - in_index)]
    messages += [
        f"image {key} of index.parquet is not at byte {offset} with {length} bytes"
        for key, offset, length in sorted(in_index - in_tar)
    ]
    if len(images) != len(in_index):
        messages.append(f"index.parquet lists {len(images) - len(in_index)} of its images more than once")
    return messages


def _check_image(encoded: bytes, image: Mapping[str, Any], name: str | None, depth: int | None) -> list[str]:
    """What is wrong with an image: other bytes than were packed, not decodable, of another form or size. ``name``: the
    tar member's, None where there is none at that offset."""
    what = f"image {image['key']} (row {image['row']})"
    if zlib.crc32(encoded) != image["crc32"]:
        return [f"{what}: its bytes have changed (CRC-32)"]
    try:
        with Image.open(io.BytesIO(encoded)) as decoded:
            form, mode, size = decoded.format, decoded.mode, decoded.size
            wanted = _FORMATS.get(name.rpartition(".")[2]) if name else form
            gray = _MODES[depth or (16 if mode == _MODES[16] else 8)]
            if form != wanted or mode != gray:
                bits = f"{depth or 8}-bit gray"
                return [f"{what}: is {form} of mode {mode}, where {wanted} of mode {gray}, {bits}, belongs"]
            if size != (image["width"], image["height"]):
                return [f"{what}: is {size[0]}x{size[1]} px, but its row says {image['width']}x{image['height']}"]
            decoded.load()  # once it is known to be what a build writes, and no larger
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return [f"{what}: cannot be decoded ({error})"]
    return []
