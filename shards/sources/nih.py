"""NIH ChestX-ray14 (Wang et al., CVPR 2017): ``Data_Entry_2017*.csv`` (or ``.csv.gz``), the two split lists, images in
any folders below.

Two names in the header hold a comma, so it reads as 11 columns; only the first seven are used. Images are looked up on
disk and joined with the list, because most copies of this release are partial. ``train_val_list.txt`` gives ``train``,
``test_list.txt`` gives ``test``.
"""

import csv
import gzip
from pathlib import Path

from shards.errors import InputError
from shards.record import Record, Rejected, make_key
from shards.sources.release import Release, image_files

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
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
_OLDEST_YEARS = 110  # the 2017 list has ages up to 414


def read(root: Path) -> Release:
    """Reads a whole or partial copy of ChestX-ray14.

    Raises:
        InputError: the list, or one of the split lists, is missing.
    """
    rows = _read_entries(root)
    splits = _read_splits(root)
    records: list[Record] = []
    rejected: list[Rejected] = []
    for path in image_files(root):
        source_path = path.relative_to(root).as_posix()
        if path.name not in rows:
            message = "no row for this image in Data_Entry_2017"
            rejected.append(Rejected(source_path=source_path, reason="no-row", message=message))
        elif path.name not in splits:
            message = f"in neither of {' and '.join(_LISTS.values())}"
            rejected.append(Rejected(source_path=source_path, reason="no-split", message=message))
        else:
            records.append(_record(rows[path.name], path, source_path, splits[path.name]))
    num_absent = len(rows.keys() - {record.path.name for record in records})
    notes = [f"{num_absent:,} of the {len(rows):,} listed images are not in this copy"] if num_absent else []
    return Release(labels=LABELS, records=records, rejected=rejected, notes=notes)


def _read_entries(root: Path) -> dict[str, list[str]]:
    lists = sorted(root.glob("Data_Entry_2017*.csv")) + sorted(root.glob("Data_Entry_2017*.csv.gz"))
    if not lists:
        raise InputError(f"--input {root}: no Data_Entry_2017*.csv there; is this the NIH ChestX-ray14 folder?")
    with gzip.open(lists[0], "rt") if lists[0].suffix == ".gz" else lists[0].open() as file:
        entries = csv.reader(file)
        next(entries, None)
        return {row[0]: row for row in entries if len(row) >= 7}


def _read_splits(root: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for split, name in _LISTS.items():
        path = root / name
        if not path.is_file():
            raise InputError(f"--input {root}: {name} is missing; add it, it comes with the release")
        splits.update(dict.fromkeys(path.read_text().split(), split))
    return splits


def _record(row: list[str], path: Path, source_path: str, split: str) -> Record:
    _, findings, follow_up, patient, age_text, sex, projection = row[:7]
    found = set(findings.split("|"))
    age = float(age_text.rstrip("Yy")) if age_text.rstrip("Yy").isdigit() else None
    return Record(
        key=make_key(path.stem),
        path=path,
        source_path=source_path,
        split=split,
        patient_id=patient,
        study_id=f"{patient}/{follow_up}",
        view="frontal",
        projection=projection.strip() or None,
        sex=sex.strip() or None,
        age=age if age is not None and age <= _OLDEST_YEARS else None,
        labels={label: int(label in found) for label in LABELS},
    )
