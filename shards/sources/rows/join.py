"""A hospital's list of labels joined to its DICOM files, by what both hold: accession number, UIDs, or the path.

What no row speaks of is unlabelled; rows and images without a partner are counted and told.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from shards.base.errors import InputError, OptionError
from shards.format.blank import UNKNOWN
from shards.sources.files import SourceFiles
from shards.sources.lists import Row
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected
from shards.sources.release import Note
from shards.sources.rows.reader import OPTIONS as ROW_OPTIONS
from shards.sources.rows.reader import RowReader, check_template, named_path, read_rows
from shards.sources.rows.repeated import once_each

OPTIONS = ROW_OPTIONS | {"join", "join_column", "path_column", "path_template"}
TAGS = {
    "accession": "AccessionNumber",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "sop": "SOPInstanceUID",
    "path": "",
}
# What such a column may be called, without spaces, signs and capitals, in order of preference.
_NAMES = {
    "accession": "accessionnumber accession accessionno accessionnr accessionid accnumber accno acc",
    "study": "studyinstanceuid studyuid studyinstance studyid study",
    "series": "seriesinstanceuid seriesuid seriesinstance seriesid series",
    "sop": "sopinstanceuid sopuid sop instanceuid imageuid imageinstanceuid imageid dicomid image",
    "path": "path filepath filename file dicompath dicomfile imagepath image dicom",
}
Found = Sequence[tuple[Record, str]]  # images, each with its value of what is joined by


class JoinedList:
    """The list of ``--csv``, read and ready to be joined.

    Raises:
        InputError: options that make no sense or are missing, no such list, or no column to join by.
    """

    def __init__(self, files: SourceFiles, options: SourceOptions) -> None:
        if options.csv is None or options.join is None:
            given = "--csv" if options.csv else "--join" if options.join else "an option of a list"
            raise OptionError(
                f"{given}: a list of labels needs both --csv and --join, which is what its rows are of: "
                f"{', '.join(TAGS)}"
            )
        check_template(options)
        self.by = options.join
        self.tag = TAGS[options.join]
        self._options = options
        self._reader = RowReader(options)
        self._name, rows = read_rows(files, options, self._reader.columns)
        self._column = self._find_column(rows[0])
        self.labels = self._reader.learn_labels(rows)
        self.found_labels = self._reader.found_labels
        self._rows: dict[str, list[Row]] = {}
        for row in rows:
            value = row.get(self._column)
            key = named_path(row, self._column, options) if self.by == "path" and value else value
            self._rows.setdefault(key, []).append(row)

    def join(self, found: Found) -> tuple[list[Record], list[Rejected], list[Note]]:
        """The images with what their rows say, those whose rows cannot be read or differ, and notes.

        Raises:
            InputError: no row matches any image.
        """
        by_path = _by_path(self._rows, found) if self.by == "path" else None
        records: list[Record] = []
        rejected: list[Rejected] = []
        unmatched: list[tuple[Record, str]] = []
        matched: set[str] = set()
        shared = {} if self.by == "path" else _of_several(found)
        for record, value in found:
            key = by_path.get(record.name, "") if by_path is not None else value
            rows = self._rows.get(key, []) if key else []
            if not rows:
                unmatched.append((record, value))
                records.append(replace(record, labels=dict.fromkeys(self.labels, UNKNOWN)))
                continue
            matched.add(key)
            if key in shared:
                message = (
                    f"its {self.tag} is that of {shared[key]} patients, so whose row of {self._name} it is, is unknown"
                )
                rejected.append(Rejected(source_path=record.source_path, reason="bad-row", message=message))
                continue
            item = self._joined(record, rows)
            (records if isinstance(item, Record) else rejected).append(item)  # type: ignore[arg-type]
        left = [key for key in self._rows if key not in matched]
        if not matched:
            raise InputError(
                self._nothing(found),
                bare=f"--join {self.by}: no row of the list matches an image; is it of this input?",
            )
        return records, rejected, [*self._reader.notes(), *self._notes(found, unmatched, left)]

    def _joined(self, record: Record, rows: Sequence[Row]) -> Record | Rejected:
        problem = next(filter(None, map(self._reader.problem, rows)), None)
        if problem:
            message = f"its row in {self._name}: {problem}"
            return Rejected(source_path=record.source_path, reason="bad-row", message=message)
        several = [replace(record, **self._reader.fields(row)) for row in rows]
        once, rejected, _ = once_each(several, unite=self._options.rows == "union", can_unite=True)
        return once[0] if once else rejected[0]

    def _find_column(self, row: Row) -> str:
        asked = self._options.join_column or (self._options.path_column if self.by == "path" else None)
        if asked:
            if asked in row.values:
                return asked
            has = ", ".join(map(repr, row.values))
            raise InputError(f"--join-column {asked}: {self._name} has no such column; it has {has}")
        plain = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in reversed(row.values)}
        for name in _NAMES[self.by].split():
            if name in plain:
                return plain[name]
        has = ", ".join(map(repr, row.values))
        raise InputError(
            f"--join {self.by}: no column of {self._name} is called {self.tag or 'path'} or the like; name it with "
            f"--join-column; it has {has}"
        )

    def _nothing(self, found: Found) -> str:
        ours = next((value for _, value in found if value), "nothing")
        theirs = next(filter(None, self._rows), "nothing")
        plain = {_bare(key) for key in self._rows if key}
        near = sum(_bare(value) in plain for _, value in found if value)
        hint = f"; {near:,} would without leading zeros and '.0', so write the list's in full" if near else ""
        return (
            f"--join {self.by}: no row of {self._name} matches an image: its column {self._column!r} holds {theirs!r} "
            f"and the like, the images {ours!r}{hint}"
        )

    def _notes(self, found: Found, unmatched: Sequence[tuple[Record, str]], left: Sequence[str]) -> list[Note]:
        num_rows = sum(map(len, self._rows.values()))
        num_left = sum(len(self._rows[key]) for key in left)
        told = (
            f"{len(found) - len(unmatched):,} of {len(found):,} images are joined by {self.by} to "
            f"{num_rows - num_left:,} of {num_rows:,} rows"
        )
        notes = [Note(f"{told} of {self._name} (column {self._column!r})", bare=told)]
        if unmatched:
            record, value = unmatched[0]
            why = f"{self.tag or 'path'} {value!r}" if value else f"no {self.tag}"
            told = f"{len(unmatched):,} images have no row and are unlabelled"
            notes.append(Note(f"{told}, such as {record.source_path} ({why})", bare=told))
        if left:
            line = self._rows[left[0]][0].line
            told = f"{num_left:,} rows match no image, such as line {line}"
            notes.append(Note(f"{told} ({left[0]!r})", bare=told))
        return notes


def _of_several(found: Found) -> dict[str, int]:
    """The values that images of several patients have, such as an accession number that was anonymised, and how many
    patients those are."""
    patients: dict[str, set[str]] = {}
    for record, value in found:
        if record.is_patient_known:
            patients.setdefault(value, set()).add(record.patient_id)
    return {value: len(known) for value, known in patients.items() if len(known) > 1}


def _by_path(rows: dict[str, list[Row]], found: Found) -> dict[str, str]:
    """The key of each image's rows by its name: the path from the input on, behind other folders, or where the list has
    file names alone and they are no two images', by these."""
    by_file: dict[str, list[str]] = {}
    for key in rows:
        by_file.setdefault(PurePosixPath(key).name, []).append(key)
    images: dict[str, int] = {}
    for record, _ in found:
        images[PurePosixPath(record.name).name] = images.get(PurePosixPath(record.name).name, 0) + 1
    matched = {}
    for record, _ in found:
        file = PurePosixPath(record.name).name
        fitting = [key for key in by_file.get(file, ()) if key == record.name or key.endswith(f"/{record.name}")]
        if not fitting and images[file] == 1 and file in rows:
            fitting = [file]
        if len(fitting) == 1:
            matched[record.name] = fitting[0]
    return matched


def _bare(value: str) -> str:
    return value.removesuffix(".0").lstrip("0")
