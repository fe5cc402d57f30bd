"""CheXpert (Irvin et al., AAAI 2019): small, full, or the full release's four zips unpacked side by side.

``Path`` in the lists begins with the name that the release folder had at Stanford; users put the folder anywhere, so
that first part is dropped. In the four-zip layout the lists and ``valid`` lie in ``CheXpert-v1.0 batch 1 (validate &
csv)`` and the patient folders of ``train`` directly in the batches 2 to 4, so patients are looked up across folders.

The test set came later: ``test.csv``, ``test_labels.csv`` or ``groundtruth.csv`` without sex, age and view, with a row
an image (``Path``) or a row a study (``Study``); the images of a study are then those in its folder. It may lack some
of the labels, which are then unknown there, and not absent as a blank is.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath
from sys import intern

from shards.base.errors import InputError, OptionError
from shards.format.blank import UNKNOWN
from shards.sources.files import SourceFiles, is_inside
from shards.sources.lists import Row, columns_of, read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release, around, image_names
from shards.sources.words.patient import parse_age, parse_sex
from shards.sources.words.view import parse_view

OPTIONS = frozenset({"keep_columns"})

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
LISTS = {
    "train": ("train.csv",),
    "valid": ("valid.csv",),
    "test": ("test.csv", "test_labels.csv", "groundtruth.csv"),
}
_NOTHING_KEPT: dict[str, str] = {}
_VALUES = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1}


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads a CheXpert release from its folder, the folder around it, or the folder around its four batches.

    Raises:
        InputError: no list found, or a list that lacks the columns of CheXpert.
    """
    records: list[Record] = []
    rejected: list[Rejected] = []
    for split, name in _find_lists(files).items():
        for item in _read_split(files, name, split, options):
            if isinstance(item, Record):
                records.append(item)
            else:
                rejected.append(item)
    return Release(labels=LABELS, records=records, rejected=rejected, kept=options.keep_columns)


def _find_lists(files: SourceFiles) -> dict[str, str]:
    """The list of each split: at the root, one folder down, or in a release folder's first batch."""
    prefixes = around(files)
    prefixes += [
        outer + inner
        for outer in prefixes[1:]
        if outer.startswith(("CheXpert", "chexpert"))
        for inner in around(files.below(outer))[1:]
        if inner.startswith("CheXpert")
    ]
    found: dict[str, str] = {}
    for prefix in prefixes:
        for split, names in LISTS.items():
            for name in names:
                if split not in found and files.has(prefix + name):
                    found[split] = prefix + name
    if not found:
        raise OptionError(
            f"--input {files.label}: neither train.csv nor valid.csv there or one folder below; is this CheXpert?"
        )
    return found


class _PatientFolders:
    """Where the patient folders of a split are: in the split's folder beside the list, or in any batch around it."""

    def __init__(self, files: SourceFiles, home: str, split: str) -> None:
        self._files = files
        self._plain = f"{home}{split}/"
        self._places: dict[str, list[str]] = {}
        if split not in files.below(home).folders():
            outer = f"{home.rstrip('/').rpartition('/')[0]}/".lstrip("/")  # what holds the batches: the list is in one
            batches = [f"{outer}{folder}/" for folder in files.below(outer).folders()]
            batches += [f"{home}{folder}/" for folder in files.below(home).folders()]
            for batch in dict.fromkeys(batches):
                for place in (batch, f"{batch}{split}/"):
                    for patient in files.below(place).folders():
                        if patient.startswith("patient"):
                            self._places.setdefault(patient, []).append(place)

    def name(self, patient: str, rest: str) -> str:
        """The name among the input's files of what the release calls ``SPLIT/patient/rest``."""
        names = [f"{place}{patient}/{rest}" for place in self._places.get(patient, [self._plain])]
        if len(names) > 1:  # a patient in several batches
            names = [name for name in names if self._files.has(name)] or names
        return names[0]


def _read_split(files: SourceFiles, name: str, split: str, options: SourceOptions) -> Iterator[Record | Rejected]:
    needed: tuple[str, ...] = ("Path", *LABELS, *options.keep_columns)
    if split == "test":
        columns = columns_of(files, name)
        path_column = "Path" if "Path" in columns or "Study" not in columns else "Study"
        needed = (path_column, *(label for label in LABELS if label in columns))
        if len(needed) == 1:
            raise InputError(
                f"{files.label}/{name}: none of CheXpert's labels is a column; expected {LABELS[-1]!r} ..."
            )
    folders = _PatientFolders(files, name.removesuffix(PurePosixPath(name).name), split)
    for row in read_list(files, name, needed=needed):
        path = row.get(needed[0])
        parts = path.split("/")
        parts = parts[parts.index(split) :] if split in parts else parts[1:]
        is_study = split == "test" and len(parts) == 3
        if row.problem:
            yield Rejected(source_path=path or f"{name}:{row.line}", reason="bad-row", message=row.problem)
        elif is_study:
            yield from _records_of_study(files, row, parts, folders, options)
        elif len(parts) == 4:
            yield _record(row, folders.name(parts[1], "/".join(parts[2:])), parts, options)
        else:
            message = f"line {row.line}: expected RELEASE/{split}/patientN/studyN/viewN_frontal.jpg in {needed[0]}"
            yield Rejected(source_path=path or f"{name}:{row.line}", reason="bad-path", message=message)


def _records_of_study(
    files: SourceFiles, row: Row, parts: list[str], folders: _PatientFolders, options: SourceOptions
) -> Iterator[Record | Rejected]:
    folder = folders.name(parts[1], parts[2])
    images = image_names(files.below(folder)) if is_inside(folder) else []
    for image in images:
        yield _record(row, f"{folder}/{image}", [*parts, image], options)
    if not images:
        message = f"line {row.line}: listed by the release, but there is no such study"
        yield Rejected(source_path="/".join(parts), reason="missing", message=message)


def _record(row: Row, name: str, parts: list[str], options: SourceOptions) -> Record | Rejected:
    source_path = "/".join(parts)
    split, patient, study, image = intern(parts[0]), *parts[1:]
    labels = _labels(tuple(map(row.values.get, LABELS)))
    unknown = [label for label, value in labels.items() if value is None]
    if unknown:
        message = f"line {row.line}: {unknown[0]} is {row[unknown[0]]!r}; expected 1.0, 0.0, -1.0 or nothing"
        return Rejected(source_path=source_path, reason="bad-row", message=message)
    said, projection = row.get("Frontal/Lateral"), row.get("AP/PA")
    return Record(
        key=make_key(split, patient, study, image.rpartition(".")[0] or image),
        name=source_path if name == source_path else name,  # one string in memory
        source_path=source_path,
        split=split,
        patient_id=intern(patient),
        study_id=f"{patient}/{study}",
        view=parse_view(said)[0] or ("lateral" if "lateral" in image else "frontal"),
        projection=intern(projection) or None,
        sex=parse_sex(row.get("Sex")),
        age=parse_age(row.get("Age")),
        labels=labels,  # type: ignore[arg-type]
        kept=options.kept(row.values) if options.keep_columns else _NOTHING_KEPT,
    )


@cache  # few sets of labels occur, so the records of a release share them
def _labels(values: tuple[str | None, ...]) -> dict[str, int | None]:
    """Of the values of all labels, those that are mentioned, or that the list has no column for; None where the value
    is not the release's."""
    said = zip(LABELS, values, strict=True)
    return {label: UNKNOWN if value is None else _VALUES.get(value) for label, value in said if value != ""}
