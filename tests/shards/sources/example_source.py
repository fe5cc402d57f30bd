"""Example Hospital set: ``images/*.png``, and ``labels.csv`` with file, patient, fold and Effusion (1, 0 or ?)."""

from shards.base.errors import InputError
from shards.sources.files import SourceFiles
from shards.sources.lists import read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release

LABELS = ("Effusion",)
_VALUES = {"1": 1, "0": 0, "?": -1}


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the set from the folder or zip that holds ``labels.csv``.

    Raises:
        InputError: no ``labels.csv``.
    """
    if not files.has("labels.csv"):
        raise InputError(f"--input {files.label}: no labels.csv there; is this the Example Hospital set?")
    records: list[Record] = []
    rejected: list[Rejected] = []
    for row in read_list(files, "labels.csv", needed=("file", "patient", "fold", "Effusion")):
        name = f"images/{row.get('file')}.png"
        problem = row.problem
        if not problem and row["Effusion"] not in _VALUES:
            problem = f"line {row.line}: Effusion is {row['Effusion']!r}; expected 1, 0 or ?"
        if problem:
            rejected.append(Rejected(source_path=name, reason="bad-row", message=problem))
            continue
        records.append(
            Record(
                key=make_key(row["patient"], row["file"]),
                name=name,
                source_path=name,
                split="test" if row["fold"] == "5" else "train",
                patient_id=row["patient"],
                study_id=row["file"],
                labels={"Effusion": _VALUES[row["Effusion"]]},
            )
        )
    return Release(labels=LABELS, records=records, rejected=rejected)
