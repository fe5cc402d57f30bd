"""What the rows of a user's list say of images: labels in columns or in one column of findings, split, patient, study,
view, sex, age, texts.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from shards.base.errors import InputError, OptionError
from shards.base.mistakes import nearest
from shards.sources.files import FolderFiles, SourceFiles
from shards.sources.lists import Row, check_encoding, columns_of, read_list
from shards.sources.options import SourceOptions
from shards.sources.release import Note
from shards.sources.words.label import is_blank, listed_findings, value_words
from shards.sources.words.patient import parse_age, parse_patient, parse_sex
from shards.sources.words.split import parse_split
from shards.sources.words.view import parse_view

# Options that every use of such a list reads, beside those that say which image a row is of.
OPTIONS = frozenset(
    {
        "csv",
        "encoding",
        "rows",
        "patient_column",
        "study_column",
        "split_column",
        "view_column",
        "sex_column",
        "age_column",
        "label_columns",
        "positive_words",
        "negative_words",
        "label_list_column",
        "label_separator",
        "indication_column",
        "findings_column",
        "keep_columns",
    }
)

_COLUMNS = frozenset(option for option in OPTIONS if option.endswith(("_column", "_columns"))) | {"path_column"}
_SEPARATORS = ";|,/"


class RowReader:
    """Reads the rows of a list by the columns that ``options`` name.

    Raises:
        InputError: options that make no sense.
    """

    def __init__(self, options: SourceOptions) -> None:
        check_encoding(options.encoding)
        if not options.label_separator:
            raise OptionError("--label-separator: must not be empty")
        twice = [label for label, count in Counter(options.label_columns).items() if count > 1]
        if twice:
            raise OptionError(f"--label-columns {twice[0]}: is given twice; give it once")
        both = {word.lower() for word in options.positive_words} & {word.lower() for word in options.negative_words}
        if both:
            raise OptionError(f"--positive-words {min(both)}: is a negative word too; give it once")
        self._options = options
        self._values = value_words(options.positive_words, options.negative_words)
        self._negative = frozenset(word.lower() for word in options.negative_words)
        self._listed: tuple[str, ...] = ()
        self._strange: Counter[str] = Counter()

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        options = self._options
        single = (
            options.patient_column,
            options.study_column,
            options.split_column,
            options.view_column,
            options.sex_column,
            options.age_column,
            options.label_list_column,
            options.indication_column,
            options.findings_column,
        )
        return [*(column for column in single if column), *options.label_columns, *options.keep_columns]

    def learn_labels(self, rows: Iterable[Row]) -> tuple[str, ...]:
        """All labels: the columns, then the findings that occur in the list column, in alphabetical order.

        Raises:
            InputError: a finding that is a column too.
        """
        options = self._options
        self._listed = tuple(sorted({one for row in rows if not row.problem for one in self._findings(row) or ()}))
        clashes = sorted(set(self._listed) & set(options.label_columns))
        if clashes:
            raise OptionError(f"--label-columns {clashes[0]}: is a finding of --label-list-column too; give it once")
        return *options.label_columns, *self._listed

    def problem(self, row: Row) -> str | None:
        """What cannot be read of a row."""
        if row.problem:
            return row.problem
        column = self._options.split_column
        if column and not parse_split(row.get(column)):
            return f"line {row.line}: split {row.get(column).lower()!r} is none of train, valid (val, dev), test"
        for label in self._options.label_columns:
            value = row.get(label)
            if value.lower() not in self._values and not is_blank(value):
                self._strange[value] += 1
                return f"line {row.line}: {label} is {value!r}; expected 1, 0, -1 or nothing"
        return None

    @property
    def found_labels(self) -> frozenset[str]:
        """The labels that :meth:`learn_labels` found in cells: the list's own words."""
        return frozenset(self._listed)

    def notes(self) -> list[Note]:
        """What the user can do about words that :meth:`problem` has met, and about findings that look like several."""
        words = ", ".join(f"{word!r} {count:,}" for word, count in self._strange.most_common(4))
        remedy = "--positive-words and --negative-words say what they mean"
        told = f"words that are not understood as labels: {words}; {remedy}"
        bare = f"{self._strange.total():,} words are not understood as labels; {remedy}"
        return [*([Note(told, bare=bare, is_cause=True)] if words else []), *self._joined_findings()]

    def fields(self, row: Row) -> dict[str, Any]:
        """The fields of a record that the columns give, of a row without a problem: those whose columns are named."""
        options = self._options
        found: dict[str, Any] = {"labels": self._labels(row)}
        patient, study = (parse_patient(row.get(column)) for column in (options.patient_column, options.study_column))
        if patient:
            found |= {"patient_id": patient, "is_patient_known": True}
        if study:
            found["study_id"] = study
        if options.split_column:
            found["split"] = parse_split(row.get(options.split_column))
        if options.view_column:
            found["view"], found["projection"] = parse_view(row.get(options.view_column))
        if options.sex_column:
            found["sex"] = parse_sex(row.get(options.sex_column))
        if options.age_column:
            found["age"] = parse_age(row.get(options.age_column))
        found["indication"] = _said(row, options.indication_column)
        found["findings"] = _said(row, options.findings_column)
        found["kept"] = options.kept(row.values)
        return found

    def _labels(self, row: Row) -> dict[str, int]:
        values = tuple((label, self._values.get(row.get(label).lower())) for label in self._options.label_columns)
        found = self._findings(row)
        return _labels(values, self._listed, None if found is None else frozenset(found))

    def _joined_findings(self) -> list[Note]:
        """A note of findings that are several others, joined by another sign."""
        for finding in self._listed:
            for sign in _SEPARATORS:
                parts = [part.strip() for part in finding.split(sign)]
                if len(parts) > 1 and set(parts) & set(self._listed):
                    told = f"looks like {len(parts)} findings: is --label-separator {sign!r} meant?"
                    return [Note(f"finding {finding!r} {told}", bare=f"a finding {told}")]
        return []

    def _findings(self, row: Row) -> list[str] | None:
        options = self._options
        cell = row.get(options.label_list_column)
        return listed_findings(cell, separator=options.label_separator, negative=self._negative)


def _said(row: Row, column: str | None) -> str | None:
    cell = row.get(column)
    return None if is_blank(cell) else cell


@cache  # few sets of labels occur, so the records share them
def _labels(
    values: tuple[tuple[str, int | None], ...], listed: tuple[str, ...], found: frozenset[str] | None
) -> dict[str, int]:
    said = {label: value for label, value in values if value is not None}
    return said if found is None else said | {finding: int(finding in found) for finding in listed}


def read_rows(files: SourceFiles, options: SourceOptions, needed: Sequence[str]) -> tuple[str, list[Row]]:
    """The name of the list that ``--csv`` names, and its rows.

    Raises:
        InputError: no such list, or as :func:`shards.sources.lists.read_list`; no row.
    """
    assert options.csv is not None
    place, name = files, options.csv.as_posix()
    if not files.has(name):
        if not options.csv.is_file():
            raise OptionError(f"--csv {options.csv}: no such file, neither inside --input {files.label} nor as a path")
        place, name = FolderFiles(options.csv.parent), options.csv.name
    _require_columns(columns_of(place, name, encoding=options.encoding), options, name)
    rows = list(read_list(place, name, needed=needed, encoding=options.encoding))
    if not rows:
        raise OptionError(f"--csv {options.csv}: holds a header and no row")
    return name, rows


def _require_columns(header: Sequence[str], options: SourceOptions, name: str) -> None:
    """Refuses an option that names a column which the list has not."""
    flags = {option: "--" + option.replace("_", "-") for option in vars(options) if option in _COLUMNS}
    for option, flag in flags.items():
        given = getattr(options, option)
        for column in (given,) if isinstance(given, str) else given or ():
            if header and column not in header:
                told, like = f"{flag} {column}: {name} has no such column", nearest(column, header)
                has = ", ".join(map(repr, header))
                raise InputError(f"{told}{like} it has {has}", bare=f"{flag} {column}: the list has no such column")


def check_template(options: SourceOptions) -> None:
    """Refuses a template without one place for the name. Raises InputError."""
    if options.path_template.count("{}") != 1:
        raise OptionError(
            f"--path-template {options.path_template}: must hold {{}} once, where the column's value goes"
        )


def named_path(row: Row, column: str, options: SourceOptions) -> str:
    """The name of the file that a row is of; lists made on other systems write .\\images\\a.png."""
    return str(PurePosixPath(options.path_template.replace("{}", row.get(column).replace("\\", "/"))))
