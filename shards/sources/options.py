"""What a user can tell a source beyond where the release is; every source names the options that it reads."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from shards.base.errors import OptionError
from shards.format.blank import Blank
from shards.sources.words.label import is_blank

OF_EVERY_SOURCE = frozenset({"blank"})


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """``blank`` of every source; ``reports`` of mimic; all others of table, and most of them of dicom, where a list
    says more of the images than their headers."""

    blank: Blank | None = None
    """What a blank label means: absent, or unknown, so that it leaves training, test and every count. Default: the
    source's own rule, which is absent for chexpert, chexpert-plus, mimic, nih, padchest, brax and openi, and unknown
    for the others."""
    reports: Path | None = None
    """mimic: folder or zip of the report texts (files/p10/p10003502/s50084553.txt); fills the column indication."""
    csv: Path | None = None
    """table: the list of images; dicom: a list of labels, joined by --join. A .csv, .tsv or .csv.gz: a name inside the
    input, or a path."""
    join: Literal["accession", "study", "series", "sop", "path"] | None = None
    """dicom: what a row of --csv is of: an accession number, a study, series or SOP instance UID, or a file's path."""
    join_column: str | None = None
    """dicom: column of the list that is joined by; default: the one called so, such as AccessionNumber."""
    encoding: str | None = None
    """table, dicom: of the list, such as cp1252; default: UTF-8, or UTF-16 where the file shows it."""
    path_column: str | None = None
    """table, and dicom with --join path: column that names the image, relative to the input."""
    path_template: str = "{}"
    """table, and dicom with --join path: how the file is named, with {} for what the column holds, such as
    'images/{}.dcm'."""
    rows: Literal["refuse", "union"] = "refuse"
    """table, dicom: what becomes of an image whose rows differ, as one row a reader, box or finding does: refuse it, or
    unite its labels, so that a finding is present where any row says so."""
    patient_column: str | None = None
    """table, dicom: column of the patient; without it the DICOM header's, else each image counts as a patient
    of its own."""
    study_column: str | None = None
    """table, dicom: column of the study; without it the DICOM header's, else each image counts as a study
    of its own."""
    split_column: str | None = None
    """table, dicom: column that says train, valid or test, also as Training, dev, test_set and the like; without it
    all is train."""
    view_column: str | None = None
    """table, dicom: column of the view or projection, such as frontal, lateral, PA, AP, LL."""
    sex_column: str | None = None
    """table, dicom: column of the sex."""
    age_column: str | None = None
    """table, dicom: column of the age in years, or as in DICOM (010M)."""
    label_columns: tuple[str, ...] = ()
    """table, dicom: columns that are labels, each with 1, 0, -1 (uncertain) or nothing; or words such as yes,
    negative."""
    positive_words: tuple[str, ...] = ()
    """table, dicom: other words that say present in these columns, such as ja."""
    negative_words: tuple[str, ...] = ()
    """table, dicom: other words that say absent, such as nein; in the list column, words that are no finding."""
    label_list_column: str | None = None
    """table, dicom: column that lists the findings present, such as 'Edema|Effusion' or ['Edema', 'Effusion']; those it
    lacks are absent, unless it is blank."""
    label_separator: str = "|"
    """table, dicom: what stands between the findings of the list column."""
    indication_column: str | None = None
    """table, dicom: column of the indication, the question that the image is to answer."""
    findings_column: str | None = None
    """table, dicom: column of the report's findings."""

    keep_columns: tuple[str, ...] = ()
    """Columns of the release's or your own list to keep in the index as they are, such as race or insurance: `--where`
    chooses by them, and subgroups in `eval` are made of them. Of table, dicom, and releases whose list has a row an
    image."""
    readers: Literal["vote", "union"] = "vote"
    """vindr: what becomes of a finding that readers of an image do not agree on: the majority decides, or any of them.
    Boxes are kept of all readers."""

    def kept(self, values: Mapping[str, str]) -> dict[str, str]:
        """What a row's columns hold of those to keep; blank ones are left out."""
        return {name: values[name] for name in self.keep_columns if not is_blank(values.get(name, ""))}

    def refuse_unused(self, source: str, used: frozenset[str]) -> None:
        """Raises OptionError for an option that was given and that ``source`` would pass over."""
        for option in fields(self):
            if option.name not in used | OF_EVERY_SOURCE and getattr(self, option.name) != option.default:
                flag = "--" + option.name.replace("_", "-")
                raise OptionError(f"{flag}: --source {source} does not read it; leave it out, or check --source")
