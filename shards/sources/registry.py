"""The releases that can be packed: one file a source.

A source is a module with ``read(files, options) -> Release``. It reads lists, texts, folder names and DICOM headers,
never pixels, so it is fast; missing or broken images are found by the build, which rejects them with a reason.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from shards.base.errors import InputError, OptionError
from shards.format.blank import Blank
from shards.sources import dicom, folder, table
from shards.sources.diagnoses import covid, jsrt, montgomery, shenzhen, tbx11k
from shards.sources.files import SourceFiles, is_inside
from shards.sources.options import SourceOptions
from shards.sources.readings import candid, objectcxr, rsna, siim, vindr
from shards.sources.record import Rejected
from shards.sources.release import Release
from shards.sources.reports import brax, chexpert, chexpert_plus, mimic, nih, openi, padchest
from shards.sources.rows.repeated import once_each


@dataclass(frozen=True)
class Source:
    """How a release is read, which fields of :class:`SourceOptions` it reads beside ``blank``, and what a blank label
    means in it: absent only where its publication says that a finding which is not mentioned is not there."""

    read: Callable[[SourceFiles, SourceOptions], Release]
    options: frozenset[str] = frozenset()
    blank: Blank = "unknown"


SOURCES: dict[str, Source] = {
    "brax": Source(brax.read, brax.OPTIONS, blank="absent"),
    "candid": Source(candid.read),
    "chexpert": Source(chexpert.read, chexpert.OPTIONS, blank="absent"),
    "chexpert-plus": Source(chexpert_plus.read, chexpert_plus.OPTIONS, blank="absent"),
    "covid": Source(covid.read, covid.OPTIONS),
    "dicom": Source(dicom.read, dicom.OPTIONS),
    "folder": Source(folder.read),
    "jsrt": Source(jsrt.read),
    "mimic": Source(mimic.read, mimic.OPTIONS, blank="absent"),
    "montgomery": Source(montgomery.read),
    "nih": Source(nih.read, nih.OPTIONS, blank="absent"),
    "objectcxr": Source(objectcxr.read),
    "openi": Source(openi.read, blank="absent"),
    "padchest": Source(padchest.read, padchest.OPTIONS, blank="absent"),
    "rsna": Source(rsna.read),
    "shenzhen": Source(shenzhen.read),
    "siim": Source(siim.read),
    "table": Source(table.read, table.OPTIONS),
    "tbx11k": Source(tbx11k.read),
    "vindr": Source(vindr.read, vindr.OPTIONS),
}


def takes_list(source: str) -> bool:
    """Whether a source reads a list of the user's own, which ``--csv`` names."""
    return source in SOURCES and "csv" in SOURCES[source].options


def read_release(source: str, files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the release in ``files`` with the named source. Records are unique by file and stay inside the input; what
    a list names twice or outside is rejected.

    Raises:
        InputError: unknown source, files that are not such a release, or options that the source does not read.
    """
    if source not in SOURCES:
        raise OptionError(f"--source {source}: unknown; known sources: {', '.join(sorted(SOURCES))}")
    options.refuse_unused(source, SOURCES[source].options)
    with _without_collection():
        release = _check(SOURCES[source].read(files, options))
    if not release.records:
        told = [f"{one.source_path}: {one.message}" for one in release.rejected[:1]] + release.notes
        found = f"no images of a {source} release found there; check --source and --input"
        raise InputError("; ".join([f"--input {files.label}: {found}", *told]), bare=f"--input: {found}")
    blank = options.blank or SOURCES[source].blank
    return replace(release, blanks=dict.fromkeys(release.labels, blank))


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """No search for circles of garbage in a block of code: reading makes millions of objects and no circle, and looking
    through them again and again takes longer than the reading."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _check(release: Release) -> Release:
    once, repeated, notes = once_each(release.records)
    rejected = [*release.rejected, *repeated]
    for record in once:
        if not is_inside(record.name):
            message = "its path leaves the input; paths in lists must be relative and hold no '..'"
            rejected.append(Rejected(source_path=record.source_path, reason="bad-path", message=message))
    records = [record for record in once if is_inside(record.name)]
    return replace(release, records=records, rejected=rejected, notes=[*release.notes, *notes])
