"""Splits from a list, such as the official one of a paper: a row a patient, study or image, and a column ``split``.

    patient_id,split          image,split
    64741,train               00000001_000.png,train_val

Which of the three the rows are of, is told by the name of their column; images are named by their path in the release,
their file with or without its suffix, or their key.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from shards.base.errors import InputError, OptionError
from shards.packing.split import shared_patients
from shards.sources.files import FolderFiles
from shards.sources.lists import columns_of, read_list
from shards.sources.record import Record, Rejected
from shards.sources.release import Note, Release
from shards.sources.words.patient import parse_patient
from shards.sources.words.split import parse_split

Kind = Literal["image", "study", "patient"]
# What such a column may be called, without spaces, signs and capitals; a list with several is of its smallest unit.
_NAMES: Mapping[Kind, frozenset[str]] = {
    "image": frozenset(
        [
            "image",
            "imageid",
            "imageindex",
            "imagename",
            "imagepath",
            "path",
            "pathtoimage",
            "file",
            "filename",
            "dicomid",
            "key",
        ]
    ),
    "study": frozenset(["study", "studyid", "studyinstanceuid"]),
    "patient": frozenset(["patient", "patientid", "subject", "subjectid"]),
}
_SPLIT_NAMES = frozenset({"split", "set", "fold", "subset", "partition"})


def list_splits(release: Release, path: Path) -> Release:
    """The release with the splits of a list; images that it does not name are refused.

    Raises:
        InputError: no such list, columns that are not understood, a split that is none, a patient in several splits, or
            a list that names no image of the release.
    """
    if not path.is_file():
        raise OptionError(f"--splits {path}: no such file; give a CSV with a column split")
    kind, splits = _read(path)
    names = _NAMERS[kind]
    records: list[Record] = []
    rejected: list[Rejected] = []
    used: set[str] = set()
    for record in release.records:
        found = next((name for name in names(record) if name in splits), None)
        if found is None:
            message = f"the list of --splits does not name its {kind}"
            rejected.append(Rejected(source_path=record.source_path, reason="no-split", message=message))
        else:
            used.add(found)
            records.append(replace(record, split=splits[found]))
    if not records:
        raise InputError(
            f"--splits {path}: its {len(splits):,} rows name no {kind} of the input, such as {next(iter(splits))!r} "
            f"(the input has {next(iter(names(release.records[0])), '')!r})",
            bare=f"--splits: its {len(splits):,} rows name no {kind} of the input",
        )
    shared = shared_patients(records)
    if shared:
        patient, several = next(iter(shared.items()))
        told = f"--splits {path}: {len(shared):,} patients are in several splits"
        remedy = "so what is tested on would be learnt from; mend the list"
        raise InputError(f"{told}, such as {patient} in {' and '.join(several)}, {remedy}", bare=f"{told}, {remedy}")
    notes = [
        *release.notes,
        Note(f"splits are those of the list, by {kind}: {len(used):,} of its {len(splits):,} rows"),
    ]
    return replace(release, records=records, rejected=[*release.rejected, *rejected], notes=notes)


def _read(path: Path) -> tuple[Kind, dict[str, str]]:
    """What the rows are of, and the split of each."""
    files = FolderFiles(path.parent)
    columns = columns_of(files, path.name)
    plain = {column: "".join(filter(str.isalnum, column.lower())) for column in columns}
    split = next((column for column in columns if plain[column] in _SPLIT_NAMES), None)
    found = next(
        ((kind, column) for kind, known in _NAMES.items() for column in columns if plain[column] in known), None
    )
    if split is None or found is None:
        missing = "split" if split is None else "image, study or patient"
        raise OptionError(f"--splits {path}: no column {missing}; it has {', '.join(map(repr, columns))}")
    kind, column = found
    splits: dict[str, str] = {}
    for row in read_list(files, path.name, needed=(column, split)):
        name, said = parse_patient(row.get(column).replace("\\", "/")), parse_split(row.get(split))
        if row.problem or not name or said is None:
            what = row.problem or f"{split} is {row.get(split)!r}, none of train, valid (val, dev), test"
            told = f"line {row.line}: {what if name else f'no {column}'}"
            raise InputError(f"--splits {path}, {told}", bare=f"--splits: line {row.line} cannot be read")
        if splits.setdefault(name, said) != said:
            raise InputError(
                f"--splits {path}, line {row.line}: {column} {name!r} is in {splits[name]} and in {said}; keep one",
                bare=f"--splits: line {row.line} contradicts another",
            )
    if not splits:
        raise OptionError(f"--splits {path}: holds a header and no row")
    return kind, splits


def _image_names(record: Record) -> Sequence[str]:
    path = PurePosixPath(record.source_path)
    return (record.source_path, path.name, path.stem, record.key)


_NAMERS: Mapping[Kind, Callable[[Record], Sequence[str]]] = {
    "image": _image_names,
    "study": lambda record: (record.study_id, record.study_id.rpartition("/")[2]),
    "patient": lambda record: (record.patient_id,),
}
