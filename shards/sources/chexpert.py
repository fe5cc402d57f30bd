"""CheXpert (Irvin et al., AAAI 2019): ``train.csv``, ``valid.csv`` and, where present, ``test.csv``.

``Path`` in the lists begins with the name that the release folder had at Stanford; users put the folder anywhere, so
that first part is dropped and the rest is looked up below the folder that holds the list.
"""

import csv
from pathlib import Path

from shards.errors import InputError
from shards.record import Record, Rejected, make_key
from shards.sources.release import Release

LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
SPLITS = ("train", "valid", "test")
_SEXES = {"male": "M", "female": "F"}


def read(root: Path) -> Release:
    """Reads a CheXpert release, small or full, from its folder or the folder around it.

    Raises:
        InputError: no list found, or a list that lacks the columns of CheXpert.
    """
    root = _release_folder(root)
    records: list[Record] = []
    rejected: list[Rejected] = []
    for split in SPLITS:
        path = root / f"{split}.csv"
        if path.is_file():
            for row in _rows(path):
                record = _record(row, root, split)
                (records if isinstance(record, Record) else rejected).append(record)  # type: ignore[arg-type]
    return Release(labels=LABELS, records=records, rejected=rejected)


def _release_folder(root: Path) -> Path:
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if any((folder / f"{split}.csv").is_file() for split in SPLITS):
            return folder
    raise InputError(f"--input {root}: neither train.csv nor valid.csv there or one folder below; is this CheXpert?")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in ("Path", *LABELS) if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: column {missing[0]!r} is missing; expected CheXpert's columns")
        return list(reader)


def _record(row: dict[str, str], root: Path, split: str) -> Record | Rejected:
    parts = Path(row["Path"]).parts[1:]
    source_path = "/".join(parts)
    if len(parts) != 4:
        return Rejected(
            source_path=row["Path"],
            reason="bad-path",
            message="expected RELEASE/SPLIT/patientN/studyN/viewN_frontal.jpg in column Path",
        )
    _, patient, study, name = parts
    values = {label: row[label].strip() for label in LABELS}
    try:
        labels = {label: int(float(value)) for label, value in values.items() if value}
        age = float(row["Age"]) if row.get("Age") else None
    except ValueError as error:
        return Rejected(source_path=source_path, reason="bad-row", message=f"a label or age is not a number: {error}")
    view = row.get("Frontal/Lateral", "").strip().lower() or ("lateral" if "lateral" in name else "frontal")
    return Record(
        key=make_key(split, patient, study, Path(name).stem),
        path=root.joinpath(*parts),
        source_path=source_path,
        split=split,
        patient_id=patient,
        study_id=f"{patient}/{study}",
        view=view,
        projection=row.get("AP/PA", "").strip() or None,
        sex=_SEXES.get(row.get("Sex", "").strip().lower()),
        age=age,
        labels=labels,
    )
