"""OpenI, the Indiana University collection (Demner-Fushman et al., JAMIA 2016): 3,955 reports as XML and 7,470 images.

Reports name their images and the terms that annotators coded them with (MeSH and others, ``major``), such as
``Opacity/lung/base/left``; labels are the terms before the first slash. ``normal`` is a term of its own, what is not
coded is absent, and ``No Indexing`` says nothing. INDICATION and FINDINGS are sections of their own, in which XXXX
stands for what was de-identified. A report is of one patient. Reports without images are told.

Images are PNG (``CXR1_1_IM-0001-3001.png``) or DICOM, named without what their report's number adds. Views are in
DICOM headers; for PNG in a list beside them: ``nlmcxr_dicom_metadata.csv``, as torchxrayvision has it, or
``indiana_projections.csv``, as Kaggle's copy has it.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from shards.base.errors import OptionError
from shards.format.blank import UNKNOWN
from shards.sources.copies import images_by_stem, join_images, optional_list, stem
from shards.sources.files import SourceFiles
from shards.sources.headers import with_headers
from shards.sources.lists import read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Note, Release, around
from shards.sources.words.view import parse_view

_UNSAID = "No Indexing"
_VIEW_LISTS = {
    "nlmcxr_dicom_metadata.csv": ("imageid", "View Position"),
    "indiana_projections.csv": ("filename", "projection"),
}
_REPORT = re.compile(r"\d+\.xml", re.IGNORECASE)
_NUMBER = re.compile(r"CXR(\d+_)?(?=\d+_IM-)")
_MOST_BYTES = 4_000_000


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the collection from the folder that holds its reports and images, in any folders, or the folder around it.

    Raises:
        InputError: no reports.
    """
    names = _find_reports(files)
    views = _read_views(files)
    images = images_by_stem(files)
    bare = {_bare(one): one for one in images}
    listed: list[Record | Rejected] = []
    labels: Counter[str] = Counter()
    num_imageless = 0
    for name in names:
        items = list(_read_report(files, name, views, bare))
        num_imageless += not items
        listed += items
        labels.update({label for item in items if isinstance(item, Record) for label in item.labels})
    unsaid = dict.fromkeys(sorted(labels), UNKNOWN)
    listed = [_with_labels(item, unsaid) for item in listed]
    records, rejected, notes = join_images(listed, images)
    records, refused = with_headers(files, records, patients=False)
    if num_imageless:
        notes.append(Note(f"{num_imageless:,} of {len(names):,} reports name no image"))
    return Release(
        labels=tuple(sorted(labels)),
        records=records,
        rejected=[*rejected, *refused],
        notes=notes,
        found_labels=frozenset(labels),
    )


def _find_reports(files: SourceFiles) -> list[str]:
    for prefix in around(files):
        names = [name for name in files.below(prefix).names() if _REPORT.fullmatch(PurePosixPath(name).name)]
        if names:
            return [prefix + name for name in names]
    raise OptionError(
        f"--input {files.label}: no reports (1.xml, 2.xml ...) there; unpack NLMCXR_reports.tgz beside the images"
    )


def _read_views(files: SourceFiles) -> dict[str, str]:
    """What a list beside the images says of their views, by bare names."""
    views: dict[str, str] = {}
    for prefix in around(files):
        for name, (image, view) in _VIEW_LISTS.items():
            place = optional_list(files, prefix + name)
            for row in read_list(files, place, needed=(image, view)) if place else ():
                if not row.problem:
                    views.setdefault(_bare(stem(row[image])), row[view])
    return views


def _read_report(
    files: SourceFiles, name: str, views: dict[str, str], images: dict[str, str]
) -> Iterator[Record | Rejected]:
    """A record of each image that a report names; labels are those of its terms alone."""
    root = _parse(files, name)
    if isinstance(root, str):
        yield Rejected(source_path=name, reason="bad-report", message=root)
        return
    number = PurePosixPath(name).stem
    terms = {" ".join((term.text or "").split("/")[0].split()) for term in root.iterfind(".//MeSH/major")} - {""}
    texts = {
        (node.get("Label") or "").upper(): " ".join("".join(node.itertext()).split())
        for node in root.iterfind(".//AbstractText")
    }
    seen: set[str] = set()
    for node in root.iterfind(".//parentImage"):
        image = node.get("id") or ""
        if not image or image in seen:
            yield Rejected(source_path=f"{name}: {image}", reason="bad-report", message="an image without a new name")
            continue
        seen.add(image)
        view, projection = parse_view(views.get(_bare(image), ""))
        yield Record(
            key=make_key(image),
            name=images.get(_bare(image), image),
            source_path=image,
            split="train",
            patient_id=number,
            study_id=number,
            view=view,
            projection=projection,
            labels={} if not terms or terms == {_UNSAID} else dict.fromkeys(sorted(terms - {_UNSAID}), 1),
            indication=_text(texts.get("INDICATION")),
            findings=_text(texts.get("FINDINGS")),
        )


def _with_labels(item: Record | Rejected, unsaid: dict[str, int]) -> Record | Rejected:
    if isinstance(item, Record) and not item.labels:
        return replace(item, labels=unsaid)
    return item


def _text(found: str | None) -> str | None:
    return found if found and any(map(str.isalnum, found)) else None


def _parse(files: SourceFiles, name: str) -> ElementTree.Element | str:
    """A report, or why it cannot be read."""
    try:
        data = files.read(name)
        if len(data) > _MOST_BYTES or b"<!ENTITY" in data or b"<!DOCTYPE" in data:
            return "no report of this collection: it is too large, or defines entities"
        return ElementTree.fromstring(data)
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        return f"cannot be read as XML: {error}"


def _bare(image: str) -> str:
    """``1_IM-0001-3001`` of ``CXR1_1_IM-0001-3001``, and of ``CXR1000_IM-0003-1001`` ``1000_IM-0003-1001``."""
    return _NUMBER.sub("", image)
