"""NIH ChestX-ray14 (Wang et al., CVPR 2017): ``Data_Entry_2017*.csv`` (or ``.csv.gz``), the two split lists, images in
any folders below.

Two names in the header hold a comma, so it reads as 11 columns; only the first seven are used. Where the list of 2020
lies beside the first one, it is taken, because it mends labels. Images are looked up in the input and joined with the
list, because most copies of this release are partial. ``train_val_list.txt`` gives
``train``, ``test_list.txt`` gives ``test``. Where ``BBox_List_2017.csv`` lies there, its boxes of some 880 images are
read; they are in pixels of the 1024 x 1024 that all images of the release have.
"""

import re
from dataclasses import replace
from pathlib import PurePosixPath

from shards.base.errors import InputError, OptionError
from shards.format.boxes import Box
from shards.sources.files import SourceFiles
from shards.sources.lists import Row, columns_of, read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Note, Release, around, image_names
from shards.sources.words.box import parse_box
from shards.sources.words.patient import parse_age, parse_sex
from shards.sources.words.view import parse_view

LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
COLUMNS = (
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "View Position",
)
OPTIONS = frozenset({"keep_columns"})
_SEX = ("Patient Gender", "Patient Sex")
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
BOX_LIST = "BBox_List_2017.csv"
_SIDE = 1024
_BOX_COLUMNS = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")  # of a header that holds commas
_BOX_WORDS = {"Infiltrate": "Infiltration"}
_ENTRIES = re.compile(r"Data_Entry_2017[^/]*\.csv(\.gz)?")


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads a whole or partial copy of ChestX-ray14, from its folder or the folder around it.

    Raises:
        InputError: the list, or one of the split lists, is missing.
    """
    prefix, images, entries, notes = _find(files)
    splits = _read_splits(files, prefix)
    boxes, bad_boxes = _read_boxes(files, prefix)
    rejected: list[Rejected] = []
    wanted = {PurePosixPath(name).name for name in images}
    rows = {}
    num_listed = 0
    sex = next((name for name in _SEX if name in columns_of(files, entries)), _SEX[0])
    for row in read_list(files, entries, needed=(*COLUMNS, sex, *options.keep_columns)):
        num_listed += 1
        if row.get("Image Index") in wanted:
            rows[row["Image Index"]] = row
    records: list[Record] = []
    taken: dict[str, str] = {}
    for name in images:
        source_path, base = name.removeprefix(prefix), PurePosixPath(name).name
        problem = _problem(rows.get(base), splits.get(base), taken.get(base)) or bad_boxes.get(base)
        if problem:
            rejected.append(Rejected(source_path=source_path, reason=problem[0], message=problem[1]))
        else:
            taken[base] = source_path
            record = _record(rows[base], name, source_path, splits[base], sex=rows[base].get(sex))
            record = replace(record, kept=options.kept(rows[base].values)) if options.keep_columns else record
            drawn = boxes.get(base)
            records.append(record if drawn is None else replace(record, boxes=tuple(drawn), box_frame=(_SIDE, _SIDE)))
    num_absent = num_listed - len(rows)
    if num_absent:
        notes.append(Note(f"{num_absent:,} of the {num_listed:,} listed images are not in this copy"))
    return Release(labels=LABELS, records=records, rejected=rejected, notes=notes, kept=options.keep_columns)


def _find(files: SourceFiles) -> tuple[str, list[str], str, list[Note]]:
    """The release's root, its images, its newest list of entries, and a note where there are others."""
    names = files.names()
    for prefix in around(files):
        lists = [name for name in names if name.startswith(prefix) and _ENTRIES.fullmatch(name[len(prefix) :])]
        if lists:
            entries, notes = _newest(files, lists)
            return prefix, [name for name in image_names(files) if name.startswith(prefix)], entries, notes
    raise OptionError(f"--input {files.label}: no Data_Entry_2017*.csv there; is this the NIH ChestX-ray14 folder?")


def _newest(files: SourceFiles, lists: list[str]) -> tuple[str, list[Note]]:
    """The list of 2020 rather than the first one, plain rather than gzipped; and which others were left."""
    newest = [name for name in lists if "v2020" in name] or lists
    unpacked = {name.removesuffix(".gz"): name for name in sorted(newest, reverse=True)}  # the plain one stays
    if len(unpacked) > 1:
        several = ", ".join(sorted(unpacked.values()))
        raise InputError(f"--input {files.label}: holds several lists of entries ({several}); keep the one that counts")
    (entries,) = unpacked.values()
    others = ", ".join(name for name in lists if name != entries)
    told = Note(f"labels are those of {entries}; {others} was not read", bare="labels are those of the newest list")
    return entries, [told] if others else []


def _read_splits(files: SourceFiles, prefix: str) -> dict[str, str]:
    splits: dict[str, str] = {}
    for split, name in _LISTS.items():
        if not files.has(prefix + name):
            raise InputError(f"--input {files.label}: {prefix}{name} is missing; add it, it comes with the release")
        splits.update(dict.fromkeys(files.read(prefix + name).decode("utf-8-sig", errors="replace").split(), split))
    return splits


def _read_boxes(files: SourceFiles, prefix: str) -> tuple[dict[str, list[Box]], dict[str, tuple[str, str]]]:
    """Boxes by image, and why those of an image cannot be read."""
    boxes: dict[str, list[Box]] = {}
    problems: dict[str, tuple[str, str]] = {}
    name = next((one for one in (prefix + BOX_LIST, f"{prefix}{BOX_LIST}.gz") if files.has(one)), None)
    for row in read_list(files, name, needed=_BOX_COLUMNS) if name else ():
        image, label = row.get("Image Index"), row.get("Finding Label")
        box = parse_box(_BOX_WORDS.get(label, label), [row.get(column) for column in _BOX_COLUMNS[2:]])
        if row.problem or box is None or box.label not in LABELS:
            problems[image] = "bad-box", f"{BOX_LIST}, line {row.line}: {row.problem or 'no box of a known finding'}"
        else:
            boxes.setdefault(image, []).append(box)
    return boxes, problems


def _problem(row: Row | None, split: str | None, taken: str | None) -> tuple[str, str] | None:
    """Why an image cannot be packed, as reason and message."""
    if row is None:
        return "no-row", "no row for this image in Data_Entry_2017"
    if any(column not in row.values for column in COLUMNS):
        return "bad-row", row.problem or "a column is missing"
    if split is None:
        return "no-split", f"in neither of {' and '.join(_LISTS.values())}"
    unknown = sorted(set(row["Finding Labels"].split("|")) - {*LABELS, "No Finding"})
    if unknown:
        return "bad-row", f"line {row.line}: unknown finding {unknown[0]!r}"
    if taken is not None:
        return "duplicate", f"the same image index is at {taken}"
    return None


def _record(row: Row, name: str, source_path: str, split: str, *, sex: str) -> Record:
    found = set(row["Finding Labels"].split("|"))
    patient = row["Patient ID"]
    return Record(
        key=make_key(PurePosixPath(name).stem),
        name=name,
        source_path=source_path,
        split=split,
        patient_id=patient,
        study_id=f"{patient}/{row['Follow-up #']}",
        view="frontal",
        projection=parse_view(row["View Position"])[1],
        sex=parse_sex(sex),
        age=parse_age(row["Patient Age"]),
        labels={label: int(label in found) for label in LABELS},
    )
