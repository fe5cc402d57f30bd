"""MIMIC-CXR-JPG (Johnson et al., 2019): ``files/p10/p10003502/s50084553/<dicom_id>.jpg`` and three lists,
``mimic-cxr-2.0.0-{split,metadata,chexpert}.csv.gz``, of which the last holds the labels of each study.

With ``--reports`` (the folder or zip of the reports, ``files/p10/p10003502/s50084553.txt``) the indication is taken
from the report: the question that was asked, known before the image is read, so it tells nothing of the answer.
"""

import re
from collections import Counter

from shards.base.errors import OptionError
from shards.format.blank import UNKNOWN
from shards.sources.files import SourceFiles, open_files
from shards.sources.lists import Row, read_list
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Note, Release, around
from shards.sources.words.indication import decode_report, find_indication
from shards.sources.words.view import parse_view

LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
_SPLIT = ("dicom_id", "study_id", "subject_id", "split")
_METADATA = ("dicom_id", "ViewPosition")
OPTIONS = frozenset({"reports", "keep_columns"})
_SPLITS = {"train": "train", "validate": "valid", "test": "test"}
_VALUES = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1}
_UNLISTED = dict.fromkeys(LABELS, UNKNOWN)
_NUMBER = re.compile(r"\d+")
_DICOM_ID = re.compile(r"[\w-]+")


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads a whole or partial copy of MIMIC-CXR-JPG from its folder or the folder around it.

    Patient groups (``p10`` ... ``p19``) that are not in this copy are told in a note; other missing images are rejected
    by the build.

    Raises:
        InputError: a list is missing or lacks columns, or there are no reports where ``--reports`` says.
    """
    prefix, split_list = _find(files, "split")
    metadata_list, label_list = (_find(files, kind)[1] for kind in ("metadata", "chexpert"))
    groups = set(files.below(f"{prefix}files").folders())
    reports = _Reports(options) if options.reports else None
    views: dict[str, str] = {}
    kept: dict[str, dict[str, str]] = {}
    for row in read_list(files, metadata_list, needed=(*_METADATA, *options.keep_columns)):
        views[row.get("dicom_id")] = row.get("ViewPosition")
        if options.keep_columns:
            kept[row.get("dicom_id")] = options.kept(row.values)
    labels, bad_labels = _read_labels(files, label_list)
    records: list[Record] = []
    rejected: list[Rejected] = []
    absent: Counter[str] = Counter()
    for row in read_list(files, split_list, needed=_SPLIT):
        problem = _problem(row) or bad_labels.get(row.get("study_id"))
        source_path = _source_path(row)
        if problem:
            rejected.append(Rejected(source_path=source_path, reason="bad-row", message=problem))
        elif source_path.split("/")[1] not in groups:
            absent[source_path.split("/")[1]] += 1
        else:
            study = row["study_id"]
            view, projection = parse_view(views.get(row["dicom_id"], ""))
            records.append(
                Record(
                    key=make_key(f"p{row['subject_id']}", f"s{study}", row["dicom_id"]),
                    name=prefix + source_path,
                    source_path=source_path,
                    split=_SPLITS[row["split"]],
                    patient_id=row["subject_id"],
                    study_id=study,
                    view=view,
                    projection=projection,
                    labels=labels.get(study, _UNLISTED),
                    indication=reports.indication(row["subject_id"], study) if reports else None,
                    kept=kept.get(row["dicom_id"], {}),
                )
            )
    num_unlisted = sum(record.labels is _UNLISTED for record in records)
    notes: list[Note] = []
    if num_unlisted:
        told = f"{num_unlisted:,} images are of studies that {label_list} lacks: unlabelled"
        notes.append(Note(told, bare=told.replace(label_list, "the list of labels")))
    if absent:
        told = f"{absent.total():,} listed images of {', '.join(sorted(absent))} are not in this copy"
        notes.append(Note(told, bare=f"{absent.total():,} listed images are not in this copy"))
    if reports and records and not reports.num_found:
        raise OptionError(f"--reports {options.reports}: no report of these studies there; is it the reports' folder?")
    if reports:
        notes.append(Note(f"{reports.num_found:,} of {reports.num_asked:,} studies have a report with an indication"))
    return Release(labels=LABELS, records=records, rejected=rejected, notes=notes, kept=options.keep_columns)


def _find(files: SourceFiles, kind: str) -> tuple[str, str]:
    """The release's root and one of its lists."""
    for prefix in around(files):
        for name in (f"{prefix}mimic-cxr-2.0.0-{kind}.csv.gz", f"{prefix}mimic-cxr-2.0.0-{kind}.csv"):
            if files.has(name):
                return prefix, name
    raise OptionError(
        f"--input {files.label}: no mimic-cxr-2.0.0-{kind}.csv.gz there or one folder below; "
        "put the release's lists beside its folder files"
    )


def _read_labels(files: SourceFiles, name: str) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """Labels by study, and what is wrong with the rows that cannot be read, by study too."""
    labels: dict[str, dict[str, int]] = {}
    problems: dict[str, str] = {}
    shared: dict[tuple[tuple[str, int], ...], dict[str, int]] = {}  # few sets occur: the studies share them
    for row in read_list(files, name, needed=("study_id", *LABELS)):
        said = [(label, row.get(label)) for label in LABELS if row.get(label)]
        unknown = [label for label, value in said if value not in _VALUES]
        if row.problem or unknown:
            problems[row.get("study_id")] = f"{name}: " + (
                row.problem
                or f"line {row.line}: {unknown[0]} is {row[unknown[0]]!r}; expected 1.0, 0.0, -1.0 or nothing"
            )
        values = tuple((label, _VALUES[value]) for label, value in said if value in _VALUES)
        labels[row.get("study_id")] = shared.setdefault(values, dict(values))
    return labels, problems


def _problem(row: Row) -> str | None:
    if row.problem:
        return row.problem
    if not (_NUMBER.fullmatch(row["subject_id"]) and _NUMBER.fullmatch(row["study_id"])):
        return f"line {row.line}: subject_id {row['subject_id']!r} or study_id {row['study_id']!r} is no number"
    if not _DICOM_ID.fullmatch(row["dicom_id"]):
        return f"line {row.line}: dicom_id {row['dicom_id']!r}"
    if row["split"] not in _SPLITS:
        return f"line {row.line}: split {row['split']!r} is none of {', '.join(_SPLITS)}"
    return None


def _source_path(row: Row) -> str:
    subject = row.get("subject_id")
    return f"files/p{subject[:2]}/p{subject}/s{row.get('study_id')}/{row.get('dicom_id')}.jpg"


class _Reports:
    """The indications of studies, each report read once."""

    def __init__(self, options: SourceOptions) -> None:
        assert options.reports is not None
        self._files = open_files(options.reports, flag="--reports")
        self._prefix = next((p for p in around(self._files) if "files" in self._files.below(p).folders()), None)
        if self._prefix is None:
            raise OptionError(f"--reports {options.reports}: no folder files there or one folder below")
        self._study = ""
        self._text: str | None = None
        self.num_asked = self.num_found = 0

    def indication(self, subject: str, study: str) -> str | None:
        if study != self._study:  # the list has the images of a study one after the other
            name = f"{self._prefix}files/p{subject[:2]}/p{subject}/s{study}.txt"
            self._study, self._text = study, self._read(name)
            self.num_asked += 1
            self.num_found += self._text is not None
        return self._text

    def _read(self, name: str) -> str | None:
        try:
            return find_indication(decode_report(self._files.read(name)))
        except OSError:  # a study without a report is like one whose report asks nothing
            return None
