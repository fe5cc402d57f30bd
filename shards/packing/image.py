"""One image: from the release's file to its stored form, or why there is none.

Files are read and decoded in processes that may die of them (:mod:`shards.sandbox.sandbox`), never in the one that
builds.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from shards.base.errors import InputError
from shards.base.words import reason_of
from shards.format.boxes import BoxesOutside, Frame
from shards.images.refusal import ImageError, of_lost
from shards.images.store import ImageSpec, StoredImage, store_image
from shards.packing.pseudonym import WITHHELD, Pseudonyms, source_hash
from shards.sandbox.child import timed
from shards.sandbox.sandbox import Limits, Lost, Sandbox
from shards.sources.files import SourceFiles
from shards.sources.record import Record, Rejected

LIMITS = Limits()
_SHAPES_DIFFER = 0.02  # of two pictures' width by height, beyond what rounding of a resized copy gives
_ANY = -1  # bytes
_Item = tuple[str, int | None]
_Found = StoredImage | ImageError | Literal["changed"]
_OWN_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # of this machine, not of the image
_SHARE_TROUBLE = (errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.EHOSTDOWN)


@dataclass(frozen=True, kw_only=True)
class Packing:
    """What all images and shards of a build share."""

    files: SourceFiles
    spec: ImageSpec
    dataset: str
    labels: tuple[str, ...]
    output: Path
    kept: tuple[str, ...] = ()
    has_boxes: bool = False
    pseudonyms: Pseudonyms | None = None


def pack_images(
    records: Sequence[Record],
    sizes: Sequence[int | None],
    packing: Packing,
    *,
    processes: int = 1,
    limits: Limits | None = None,
) -> Iterator[StoredImage | Rejected]:
    """The stored form of each record's image, or why there is none; each process works a few images ahead.

    ``sizes`` are the bytes of the files when the build was planned.

    Raises:
        InputError: a file has other bytes than it had then.
        Killed: a process was killed from outside.
    """
    limits = limits or LIMITS
    items = [(record.name, size) for record, size in zip(records, sizes, strict=True)]
    for record, found in zip(records, _in_processes(_packer(packing), items, processes, limits), strict=True):
        yield _told(found, record, packing, limits)


def store_files(
    names: Sequence[str], files: SourceFiles, spec: ImageSpec, *, processes: int = 1
) -> Iterator[StoredImage | ImageError]:
    """The stored form of each file, or why there is none, as if it were packed.

    Raises:
        Killed: a process was killed from outside.
    """
    limits = LIMITS
    store = partial(_pack, files=files, spec=spec, hashed=source_hash)
    for found in _in_processes(store, [(name, _ANY) for name in names], processes, limits):
        assert found != "changed", "any size will do"
        yield of_lost(found, limits) if isinstance(found, Lost) else found


def _in_processes(
    pack: partial[_Found], items: Sequence[_Item], processes: int, limits: Limits
) -> Iterator[_Found | Lost]:
    with contextlib.ExitStack() as stack:
        sandboxes = [stack.enter_context(Sandbox(pack, limits)) for _ in range(processes)]
        results = [sandbox.map(items[first::processes]) for first, sandbox in enumerate(sandboxes)]
        for number in range(len(items)):
            yield next(results[number % processes])


def pack_images_here(
    records: Sequence[Record], sizes: Sequence[int | None], packing: Packing, limits: Limits
) -> Iterator[StoredImage | Rejected]:
    """As :func:`pack_images`, in this process, which ends with the first file that kills it or takes too long."""
    pack = _packer(packing)
    for record, size in zip(records, sizes, strict=True):
        with timed(limits.seconds):
            found = pack((record.name, size))
        yield _told(found, record, packing, limits)


def _packer(packing: Packing) -> partial[_Found]:
    hashed = source_hash if packing.pseudonyms is None else packing.pseudonyms.source_hash
    return partial(_pack, files=packing.files, spec=packing.spec, hashed=hashed)


def _told(found: _Found | Lost, record: Record, packing: Packing, limits: Limits) -> StoredImage | Rejected:
    if isinstance(found, StoredImage):
        return found if record.boxes is None else _with_boxes(found, record, packing)
    if found == "changed":
        name = record.source_path if packing.pseudonyms else record.name
        raise InputError(
            f"--input: {name} has changed since this build began; put it back as it was, "
            "or remove the output folder to begin anew"
        )
    refusal = of_lost(found, limits) if isinstance(found, Lost) else found
    message = WITHHELD if packing.pseudonyms else str(refusal)
    return Rejected(source_path=record.source_path, reason=refusal.reason, message=message)


def _with_boxes(image: StoredImage, record: Record, packing: Packing) -> StoredImage | Rejected:
    """The image with its record's boxes in stored pixels; refused where they are of another picture."""
    source = (image.source_width, image.source_height)
    given = source[::-1] if image.is_on_its_side else source
    if record.box_frame is not None:
        given, seen = record.box_frame, given
        if abs(given[0] * seen[1] - given[1] * seen[0]) > _SHAPES_DIFFER * given[1] * seen[0]:
            message = (
                f"its boxes are of a picture of {given[0]} x {given[1]} pixels; this one has {seen[0]} x {seen[1]}"
            )
            return _boxes_outside(record, message, packing)
    frame = Frame(given=given, stored=(image.width, image.height), is_square=packing.spec.square)
    try:
        return replace(image, boxes=tuple(frame.place(record.boxes or ())))
    except BoxesOutside as error:
        return _boxes_outside(record, str(error), packing)


def _boxes_outside(record: Record, message: str, packing: Packing) -> Rejected:
    told = WITHHELD if packing.pseudonyms else message
    return Rejected(source_path=record.source_path, reason="boxes-outside", message=told)


def _pack(item: _Item, *, files: SourceFiles, spec: ImageSpec, hashed: Callable[[bytes], int]) -> _Found:
    name, size = item
    try:
        data = files.read(name)
        if size not in (_ANY, len(data)):
            return "changed"
        return replace(store_image(data, spec), source_hash=hashed(data))
    except ImageError as error:
        return error
    except FileNotFoundError:
        if size == _ANY:
            return ImageError("missing", "there is no such file")
        missing = ImageError("missing", "listed by the release, but there is no such file")
        return missing if size is None else "changed"
    except InputError as error:
        return ImageError("bad-path", str(error))
    except OSError as error:
        if error.errno in (*_OWN_TROUBLE, *_SHARE_TROUBLE):
            raise
        return ImageError("unreadable", reason_of(error))
