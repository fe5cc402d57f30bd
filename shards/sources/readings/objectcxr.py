"""object-CXR (JF Healthcare, MIDL 2020): foreign objects on frontal chest X-rays from township hospitals in China.

``train.csv`` and ``dev.csv`` name each image and what was drawn on it: shapes joined by ``;``, each a kind and its
coordinates, 0 for a rectangle, 1 for an ellipse (both by two corners), 2 for a polygon; nothing where there is no
object. Of ellipses and polygons the box around them is kept. ``dev`` is packed as ``valid``. Names may be those of
paths that were there where the lists were made, so file names alone are looked for. Nothing tells whose the images
are.
"""

from pathlib import PurePosixPath

from shards.format.boxes import Box
from shards.sources.copies import find_root, images_by_stem, join_images, optional_list, stem
from shards.sources.files import SourceFiles
from shards.sources.lists import Row, columns_of, read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release
from shards.sources.words.box import parse_box

LABELS = ("Foreign Object",)
SPLITS = {"train": "train.csv", "valid": "dev.csv"}
_NAMES = ("image_name", "image_path")


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads object-CXR from the folder that holds its lists, or the folder around it.

    Raises:
        InputError: no list, or one that lacks columns.
    """
    prefix, _ = find_root(files, SPLITS.values(), what="object-CXR")
    listed: list[Record | Rejected] = []
    read_splits = set()
    for split, name in SPLITS.items():
        place = optional_list(files, prefix + name)
        if place is None:
            continue
        read_splits.add(split)
        column = next((one for one in _NAMES if one in columns_of(files, place)), _NAMES[0])
        listed += [_item(row, row.get(column), split) for row in read_list(files, place, needed=(column, "annotation"))]
    images = images_by_stem(files, prefix)
    unlisted = [
        one
        for names in images.values()
        for one in names
        for folder, split in (("train", "train"), ("dev", "valid"), ("test", "test"))
        if folder in one.removeprefix(prefix).split("/")[:-1] and split not in read_splits
    ]
    records, rejected, notes = join_images(listed, images, prefix=prefix, left_out=unlisted)
    return Release(labels=LABELS, records=records, rejected=rejected, notes=notes)


def _item(row: Row, path: str, split: str) -> Record | Rejected:
    image = stem(path.replace("\\", "/"))
    boxes = _shapes(row.get("annotation"))
    problem = row.problem or (None if image else f"line {row.line}: no image")
    if problem is None and boxes is None:
        problem = f"line {row.line}: {row.get('annotation')[:60]!r} is no shape of kind 0, 1 or 2 with its coordinates"
    if problem is not None:
        return Rejected(source_path=PurePosixPath(path).name or f"line {row.line}", reason="bad-row", message=problem)
    return Record(
        key=make_key(image),
        name=image,
        source_path=image,
        split=split,
        patient_id=image,
        study_id=image,
        is_patient_known=False,
        view="frontal",
        labels={LABELS[0]: int(bool(boxes))},
        boxes=boxes,
    )


def _shapes(text: str) -> tuple[Box, ...] | None:
    """The boxes around shapes; None where they cannot be read."""
    boxes = []
    for shape in filter(None, (part.strip() for part in text.split(";"))):
        kind, *numbers = shape.split()
        corners = numbers
        if kind == "2" and len(numbers) >= 6 and len(numbers) % 2 == 0:
            try:
                across, down = [float(one) for one in numbers[0::2]], [float(one) for one in numbers[1::2]]
            except ValueError:
                return None
            corners = [str(edge) for edge in (min(across), min(down), max(across), max(down))]
        elif kind not in ("0", "1"):
            return None
        box = parse_box(LABELS[0], corners, by_corners=True)
        if box is None:
            return None
        boxes.append(box)
    return tuple(boxes)
