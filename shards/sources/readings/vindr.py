"""VinDr-CXR (Nguyen et al., Scientific Data 2022): the release of PhysioNet, or the part of it that Kaggle has.

Each training image was read by three radiologists alone, with a row a box, or a row ``No finding``
(``annotations_train.csv``; Kaggle: ``train.csv``). The test images have one reading that five radiologists agreed on
(``annotations_test.csv`` without ``rad_id``). Where ``image_labels_train.csv`` and ``image_labels_test.csv`` lie
there, labels are those of these, which know diseases of the whole image too. What the readers do not agree on is
decided by ``--readers``; boxes are kept of all of them, with the reader.

Images are DICOM in ``train`` and ``test``, named by hashes; nothing tells whose they are. All are PA by the paper.
Boxes are in the pixels of the DICOM files: smaller copies are refused, unless no box reaches out of them.
"""

from collections.abc import Iterator, Mapping

from shards.format.boxes import Box
from shards.sources.copies import find_root, images_by_stem, join_images, optional_list
from shards.sources.files import SourceFiles
from shards.sources.headers import with_headers
from shards.sources.lists import columns_of, read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release
from shards.sources.words.box import parse_box

OPTIONS = frozenset({"readers"})
LISTS = {
    "train": ("annotations_train.csv", "annotations/annotations_train.csv", "train.csv"),
    "test": ("annotations_test.csv", "annotations/annotations_test.csv"),
}
_CORNERS = ("x_min", "y_min", "x_max", "y_max")
_NOTHING = "No finding"
_AGREED = ""  # the reader of the test set
Readings = dict[str, dict[str, set[str]]]  # of each image, what each reader found


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads VinDr-CXR from its folder or the folder around it.

    Raises:
        InputError: no list of boxes, or one that lacks columns.
    """
    prefix, _ = find_root(files, [*LISTS["train"], *LISTS["test"]], what="VinDr-CXR")
    found: dict[str, list[Record | Rejected]] = {}
    names: dict[str, None] = {}
    for split, lists in LISTS.items():
        name = optional_list(files, *(prefix + one for one in lists))
        if name is not None:
            found[split] = list(_read_split(files, prefix, name, split, options, names))
    images = images_by_stem(files, prefix)
    unlisted = [
        one for several in images.values() for one in several if f"/{one}".find("/test/") >= 0 and "test" not in found
    ]
    listed = [item for items in found.values() for item in items]
    records, rejected, notes = join_images(listed, images, prefix=prefix, left_out=unlisted)
    records, refused = with_headers(files, records, patients=False)
    labels = tuple(sorted(names, key=lambda label: (label == _NOTHING, label)))
    return Release(labels=labels, records=records, rejected=[*rejected, *refused], notes=notes)


def _read_split(
    files: SourceFiles, prefix: str, name: str, split: str, options: SourceOptions, names: dict[str, None]
) -> Iterator[Record | Rejected]:
    has_readers = "rad_id" in columns_of(files, name)
    readings: Readings = {}
    boxes: dict[str, list[Box]] = {}
    problems: dict[str, str] = {}
    for row in read_list(files, name, needed=("image_id", "class_name", *_CORNERS)):
        image, finding, reader = row.get("image_id"), row.get("class_name"), row.get("rad_id")
        by_reader = readings.setdefault(image, {}).setdefault(reader if has_readers else _AGREED, set())
        names[finding] = None
        by_reader.add(finding)
        if finding == _NOTHING and not row.problem:
            continue
        box = parse_box(finding, [row.get(one) for one in _CORNERS], by_corners=True, reader=reader or None)
        if row.problem or box is None:
            problems[image] = row.problem or f"line {row.line}: no box of {finding}"
        else:
            boxes.setdefault(image, []).append(box)
    all_names = frozenset(names) - {""}
    of_image = optional_list(
        files, f"{prefix}image_labels_{split}.csv", f"{prefix}annotations/image_labels_{split}.csv"
    )
    if of_image is not None:
        readings, all_names = _image_labels(files, of_image, problems)
        names |= dict.fromkeys(sorted(all_names))
    for image, by_reader_of in readings.items():
        if image in problems or not image:
            message = problems.get(image, "a row without image_id")
            yield Rejected(source_path=image or name, reason="bad-row", message=message)
            continue
        yield Record(
            key=make_key(image),
            name=image,
            source_path=image,
            split=split,
            patient_id=image,
            study_id=image,
            is_patient_known=False,
            view="frontal",
            projection="PA",
            labels=_agreed(by_reader_of, all_names, by_any=options.readers == "union"),
            boxes=tuple(boxes.get(image, ())),
        )


def _image_labels(files: SourceFiles, name: str, problems: dict[str, str]) -> tuple[Readings, frozenset[str]]:
    """What readers said of whole images, from a list with a column a label that holds 1 or 0."""
    columns = [one for one in columns_of(files, name) if one not in ("image_id", "rad_id", "")]
    readings: Readings = {}
    for row in read_list(files, name, needed=("image_id", *columns)):
        image = row.get("image_id")
        said = {label: row.get(label) for label in columns}
        strange = next((label for label, value in said.items() if value not in ("0", "1", "0.0", "1.0")), None)
        if row.problem or strange is not None:
            problems[image] = (
                row.problem or f"{name}, line {row.line}: {strange} is {said[strange or '']!r}, not 0 or 1"
            )
        found = {label for label, value in said.items() if value in ("1", "1.0")}
        readings.setdefault(image, {}).setdefault(row.get("rad_id") or _AGREED, set()).update(found)
    return readings, frozenset(columns)


def _agreed(by_reader: Mapping[str, set[str]], names: frozenset[str], *, by_any: bool) -> dict[str, int]:
    """Present where most readers say so, or any of them; "No finding" where nothing else is."""
    needed = 1 if by_any else len(by_reader) // 2 + 1
    labels = {name: int(sum(name in found for found in by_reader.values()) >= needed) for name in sorted(names)}
    if _NOTHING in labels:
        labels[_NOTHING] = int(not any(value for name, value in labels.items() if name != _NOTHING))
    return labels
