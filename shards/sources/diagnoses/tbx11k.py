"""TBX11K (Liu et al., CVPR 2020): 11,200 chest X-rays of 512 x 512 pixels: healthy, sick but not of tuberculosis, and
tuberculosis that is active, latent, both or uncertain.

``annotations/json/TBX11K_train.json`` and ``TBX11K_val.json`` (as COCO's) name the images and boxes of each split; the
class is the folder: ``imgs/health``, ``imgs/sick``, ``imgs/tb``. Images of ``tb`` without a box are uncertain ones:
which kind of tuberculosis is left open. ``imgs/test`` has no labels; ``imgs/extra`` holds images of other sets (DA,
DB, Montgomery, Shenzhen), which would be met twice where those are used as well. Both are left out. Nothing tells
whose the images are.
"""

import json
from collections.abc import Iterator
from typing import Any

from shards.base.errors import InputError
from shards.format.boxes import Box
from shards.sources.copies import find_root
from shards.sources.files import SourceFiles
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Note, Release, image_names

LABELS = ("Tuberculosis", "ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "Sick, no tuberculosis")
LISTS = {"train": "annotations/json/TBX11K_train.json", "valid": "annotations/json/TBX11K_val.json"}
_KINDS = LABELS[1:3]
_FOLDERS = ("health", "sick", "tb")


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads TBX11K from the folder that holds ``imgs`` and ``annotations``, or the folder around it.

    Raises:
        InputError: no list, or one that is no JSON of this kind.
    """
    prefix, _ = find_root(files, LISTS.values(), what="TBX11K")
    records: list[Record] = []
    rejected: list[Rejected] = []
    for split, name in LISTS.items():
        if files.has(prefix + name):
            for item in _read_split(files, prefix, name, split):
                if isinstance(item, Record):
                    records.append(item)
                else:
                    rejected.append(item)
    known = {record.source_path for record in records} | {refused.source_path for refused in rejected}
    images = [f"imgs/{name}" for name in image_names(files.below(f"{prefix}imgs"))]
    others = [name for name in images if name not in known]
    unlabelled = [name for name in others if name.split("/")[1] in ("test", "extra")]
    rejected += [
        Rejected(source_path=name, reason="no-row", message="no list speaks of this image")
        for name in sorted(set(others) - set(unlabelled))
    ]
    told = f"{len(unlabelled):,} images of imgs/test (no labels) and imgs/extra (other sets) were left out"
    notes = [Note(told)] if unlabelled else []
    return Release(labels=LABELS, records=records, rejected=rejected, notes=notes)


def _read_split(files: SourceFiles, prefix: str, name: str, split: str) -> Iterator[Record | Rejected]:
    try:
        content: Any = json.loads(files.read(prefix + name))
        kinds = {one["id"]: str(one["name"]) for one in content["categories"]}
        boxes: dict[Any, list[Box]] = {}
        for one in content["annotations"]:
            x, y, width, height = map(float, one["bbox"])
            boxes.setdefault(one["image_id"], []).append(Box(kinds[one["category_id"]], x, y, width, height))
        images = [
            (one["id"], str(one["file_name"]), int(one["width"]), int(one["height"])) for one in content["images"]
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{files.label}/{prefix}{name}: cannot be read as TBX11K's annotations: {error!r}") from None
    for number, image, width, height in images:
        path, folder = f"imgs/{image}", image.split("/")[0]
        drawn = tuple(boxes.get(number, ()))
        found = {box.label for box in drawn}
        if folder not in _FOLDERS or not found <= set(_KINDS) or (found and folder != "tb"):
            message = f"{name}: an image of {folder!r} with boxes of {', '.join(sorted(found)) or 'nothing'}"
            yield Rejected(source_path=path, reason="bad-row", message=message)
            continue
        labels = {"Tuberculosis": int(folder == "tb"), "Sick, no tuberculosis": int(folder == "sick")}
        if found or folder != "tb":
            labels |= {kind: int(kind in found) for kind in _KINDS}
        yield Record(
            key=make_key(*image.rpartition(".")[0].split("/")),
            name=prefix + path,
            source_path=path,
            split=split,
            patient_id=path,
            study_id=path,
            is_patient_known=False,
            view="frontal",
            labels=labels,
            boxes=drawn,
            box_frame=(width, height),
        )
