"""Which files of a copy of a release its list speaks of, for releases that name images without their folders.

Copies are partial, lie in folders of all kinds, and hold images in other formats than the release did. So images are
looked up in the whole input, by their names without the suffix.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from shards.base.errors import OptionError
from shards.sources.files import SourceFiles
from shards.sources.record import Record, Rejected
from shards.sources.release import IMAGE_SUFFIXES, Note, around

_MASKS = re.compile(r"mask[^/]*/", re.IGNORECASE)  # pictures that are no radiographs
Images = Mapping[str, list[str]]


def stem(name: str, also: Iterable[str] = ()) -> str:
    """A file's name without folders and without what is an image's suffix: UIDs hold dots too, and copies are called
    ``a.dcm.png``. ``also`` are other suffixes of images."""
    suffixes = IMAGE_SUFFIXES.union(also) if also else IMAGE_SUFFIXES
    base = name.rpartition("/")[2]
    while True:  # pathlib takes ten times as long, which 160,000 names feel
        body, _, suffix = base.rpartition(".")
        if not body or f".{suffix.lower()}" not in suffixes:
            return base
        base = body


def images_by_stem(files: SourceFiles, prefix: str = "", *, also: Iterable[str] = ()) -> dict[str, list[str]]:
    """The images below ``prefix``, by :func:`stem`; what lies in folders of masks is none.

    Args:
        also: suffixes that are images in this release; an empty one for files without any, or with a number after a
            dot, as files are that bear the name of a UID.
    """
    more = frozenset(also)
    suffixes = IMAGE_SUFFIXES | more
    found: dict[str, list[str]] = {}
    for name in files.names():
        body, dot, suffix = name.rpartition("/")[2].rpartition(".")
        suffix = f".{suffix.lower()}" if dot and body else ""
        is_image = suffix in suffixes or ("" in more and suffix[1:].isdigit())
        if is_image and name.startswith(prefix) and not _MASKS.search(name):
            found.setdefault(stem(name, more), []).append(name)
    return found


def find_root(files: SourceFiles, lists: Iterable[str], *, what: str) -> tuple[str, str]:
    """Where a release lies in the input, and the first of its ``lists`` that is there, plain or gzipped, in the folder
    or one below.

    Raises:
        InputError: there is none; ``what`` is the release.
    """
    lists = tuple(lists)
    for prefix in around(files):
        for name in lists:
            for candidate in (prefix + name, f"{prefix}{name}.gz"):
                if files.has(candidate):
                    return prefix, candidate
    named = " or ".join(dict.fromkeys(lists))
    raise OptionError(f"--input {files.label}: no {named} there or one folder below; is this {what}?")


def optional_list(files: SourceFiles, *names: str) -> str | None:
    """The first of some lists that is there, plain or gzipped."""
    return next((one for name in names for one in (name, f"{name}.gz") if files.has(one)), None)


def join_images(
    listed: Iterable[Record | Rejected],
    images: Images,
    *,
    prefix: str = "",
    left_out: Iterable[str] = (),
) -> tuple[list[Record], list[Rejected], list[Note]]:
    """Records whose ``name`` is a stem, with the file of it. Those without a file are counted in a note; files that are
    there twice, and those that no record speaks of, are refused.

    Args:
        left_out: names of files that no list is meant to speak of.
    """
    records: list[Record] = []
    rejected: list[Rejected] = []
    spoken_of: set[str] = set()
    num_absent = 0
    for item in listed:
        if isinstance(item, Rejected):
            spoken_of.add(stem(item.source_path))
            rejected.append(item)
            continue
        spoken_of.add(item.name)
        names = images.get(item.name, ())
        if not names:
            num_absent += 1
        elif len(names) > 1:
            message = f"there are {len(names)} files of this name, such as {names[0]} and {names[1]}"
            rejected.append(Rejected(source_path=names[0].removeprefix(prefix), reason="duplicate", message=message))
        else:
            records.append(replace(item, name=names[0], source_path=names[0].removeprefix(prefix)))
    skipped = set(left_out)
    for known, names in images.items():
        if known not in spoken_of:
            rejected += [
                Rejected(source_path=name.removeprefix(prefix), reason="no-row", message="no list speaks of this image")
                for name in names
                if name not in skipped
            ]
    total = num_absent + len(records)
    notes = [Note(f"{num_absent:,} of the {total:,} listed images are not in this copy")] if num_absent else []
    if skipped:
        told = f"{len(skipped):,} images have no list of labels in this release and were left out"
        notes.append(Note(f"{told}, such as {min(skipped)}", bare=told))
    return records, rejected, notes
