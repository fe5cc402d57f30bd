"""Phantom patients written as MIMIC-CXR-JPG is released, with the reports of MIMIC-CXR in its folder ``reports``.

A report is set in one of MIMIC-CXR's layouts: the indication, which knows what the patient has and not what the image
shows (:mod:`shards.phantom.indications`), then what the labeller reads.
"""

import csv
import gzip
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from shards.phantom.anatomy import Anatomy, draw_anatomy
from shards.phantom.canvas import Bytes
from shards.phantom.findings import Findings, chexpert_findings
from shards.phantom.indications import draw_story, write_indication
from shards.phantom.labels import draw_illness, draw_severities, draw_train_labels
from shards.phantom.radiograph import LATERAL, random_generator, take_radiograph
from shards.sources.reports.mimic import LABELS

RELEASE = "MIMIC-CXR-JPG"
REPORTS = "reports"
LISTS = {
    "split": ("dicom_id", "study_id", "subject_id", "split"),
    "metadata": (
        "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns"
    ),
    "chexpert": ("subject_id", "study_id", *LABELS),
}  # fmt: skip
# The release's own numbers: 227,835 studies of 65,379 patients; two frontal images of five are PA.
_STUDIES_PER_PATIENT = 227_835 / 65_379
_MOST_STUDIES = 30
_PA_SHARE = 0.4
_LATERAL_SHARE = {"PA": 0.95, "AP": 0.1}
_LL_SHARE = 0.3  # of the laterals; the others are called LATERAL
_MALE_SHARE = 0.48
# By patient. The release has 98, 1 and 1 %, which would leave a phantom of a thousand patients nothing to test on.
_SPLITS = {"train": 0.7, "validate": 0.1, "test": 0.2}
_NO_REPORT_SHARE = 0.05
_EMPTY_SHARE = 0.06
_DATASET = 3
_QUALITY = 93
# {asked} is the indication, {seen} what was seen; a slip of either into the other's place is what these are to catch.
_LAYOUTS = (
    "                                 FINAL REPORT\n EXAMINATION:  {exam}\n\n INDICATION:  {asked}\n\n TECHNIQUE:  PA"
    "\n\n COMPARISON:  ___\n\n FINDINGS: \n\n {seen}\n\n IMPRESSION: \n\n {summary}\n",
    "                                 FINAL REPORT\n HISTORY:  {asked}\n\n COMPARISON:  None.\n\n FINDINGS:  {seen}\n\n"
    " IMPRESSION:  {summary}\n",
    " WET READ: ___ ___ ___ 4:50 PM\n  {summary}\n {rule}\n                                 FINAL REPORT\n"
    " REASON FOR EXAM:  {asked}\n\n {exam}\n\n {seen}\n",
    " Indication: {asked}\n Comparison: none\n Findings: {seen}\n Impression: {summary}\n",
    " EXAMINATION: {exam} INDICATION: {asked} COMPARISON: ___ FINDINGS: {seen} IMPRESSION: {summary}\n",
    " CLINICAL HISTORY\n {asked}\n FINDINGS\n {seen}\n IMPRESSION\n {summary}\n",
    " REASON FOR EXAMINATION:\n {asked}\n\n Frontal radiograph of the chest. {seen}\n",
    " CLINICAL INFORMATION:\t{asked}\r\n\r\n FINDINGS  {seen}\r\n\r\n IMPRESSION  {summary}\r\n",
)
_SHARES = (0.46, 0.14, 0.1, 0.08, 0.05, 0.05, 0.07, 0.05)
_SEEN = {
    "1.0": ("There is {}.", "{} is seen.", "New {} is noted."),
    "-1.0": ("Possible {}.", "{} cannot be excluded."),
    "0.0": ("There is no {}.", "No evidence of {}."),
}


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A phantom patient by ``position``, and the number of the folders."""

    position: int

    @property
    def subject(self) -> int:
        """Eight digits, the groups p10 to p19 in turn."""
        return 10_000_000 + self.position % 10 * 1_000_000 + self.position // 10

    def study(self, number: int) -> int:
        """Eight digits, unique in the release."""
        return 50_000_000 + self.position * _MOST_STUDIES + number

    @property
    def folder(self) -> str:
        return f"files/p{self.subject // 1_000_000}/p{self.subject}"


def patients(num_patients: int) -> list[Patient]:
    """The release's patients; the first are the same however many there are."""
    return [Patient(position=i) for i in range(num_patients)]


def write_patient(patient: Patient, *, root: Path, seed: int, size: int) -> dict[str, list[dict[str, str]]]:
    """Writes a patient's images and reports below ``root`` (the release folder), and returns the rows of each list."""
    cv2.setNumThreads(1)
    address = (_DATASET, patient.position)
    rng = random_generator(seed, *address)
    split = str(rng.choice(list(_SPLITS), p=list(_SPLITS.values())))
    sex = "Male" if rng.random() < _MALE_SHARE else "Female"
    age = int(np.clip(rng.normal(60, 18), 18, 91))
    anatomy = draw_anatomy(rng, sex=sex, age=age)
    illness = draw_illness(rng)
    num_studies = min(int(rng.geometric(1 / _STUDIES_PER_PATIENT)), _MOST_STUDIES)
    rows: dict[str, list[dict[str, str]]] = {name: [] for name in LISTS}
    for number in range(num_studies):
        study_rng = random_generator(seed, *address, number)
        severities = draw_severities(study_rng, illness, split="train")
        drawn = draw_train_labels(study_rng, severities)
        labels = {label: drawn[label] for label in LABELS}
        views = _views(study_rng)
        names = {"subject_id": str(patient.subject), "study_id": str(patient.study(number))}
        rows["chexpert"].append(names | labels)
        exam = "CHEST (PA AND LAT)" if len(views) > 1 else f"CHEST ({views[0]})"
        # Words have a generator of their own: another wording changes no image.
        words_rng = random_generator(seed, *address, number, 0)
        report = _report(words_rng, severities, labels, sex=sex, age=age, exam=exam)
        if report is not None:
            path = root / REPORTS / patient.folder / f"s{names['study_id']}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(report.encode())
        # The places of findings come from a generator of the patient, so they stay through the course.
        findings = chexpert_findings(random_generator(seed, *address, 0, 0, 1), severities)
        for place, view in enumerate(views, start=1):
            image_rng = random_generator(seed, *address, number, place)
            picture = _picture(anatomy, findings, view=view, size=size, rng=image_rng)
            dicom = "-".join(f"{part:08x}" for part in image_rng.integers(0, 1 << 32, 5))
            path = root / patient.folder / f"s{names['study_id']}" / f"{dicom}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(simplejpeg.encode_jpeg(picture[:, :, None], quality=_QUALITY, colorspace="GRAY"))
            image = {"dicom_id": dicom} | names
            height, width = picture.shape
            rows["split"].append(image | {"split": split})
            shown = {"PerformedProcedureStepDescription": exam, "ViewPosition": view}
            rows["metadata"].append(image | shown | {"Rows": str(height), "Columns": str(width)})
    return rows


def write_lists(root: Path, tables: Iterable[Mapping[str, list[dict[str, str]]]]) -> dict[str, int]:
    """Writes the three lists of the release, and returns the number of rows of each."""
    tables = list(tables)
    counts = {}
    for name, columns in LISTS.items():
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for table in tables for row in table[name])
        # No time stamp: the same seed gives the same bytes.
        (root / f"mimic-cxr-2.0.0-{name}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
        counts[name] = sum(len(table[name]) for table in tables)
    return counts


def _report(
    rng: np.random.Generator,
    severities: Mapping[str, float],
    labels: Mapping[str, str],
    *,
    sex: str,
    age: int,
    exam: str,
) -> str | None:
    """A study's report; None where the release has none."""
    story = draw_story(rng, severities)
    indication = write_indication(rng, story, sex=sex, age=age)
    if rng.random() < _EMPTY_SHARE:
        indication = str(rng.choice(["", "___", "  ___ ___ ", "________________"]))
    report = write_report(rng, indication=indication, labels=labels, exam=exam)
    return None if rng.random() < _NO_REPORT_SHARE else report


def _views(rng: np.random.Generator) -> list[str]:
    """The column ViewPosition of a study's images."""
    frontal = "PA" if rng.random() < _PA_SHARE else "AP"
    lateral = "LL" if rng.random() < _LL_SHARE else "LATERAL"
    return [frontal, lateral] if rng.random() < _LATERAL_SHARE[frontal] else [frontal]


def _picture(anatomy: Anatomy, findings: Findings, *, view: str, size: int, rng: np.random.Generator) -> Bytes:
    projection = view if view in ("PA", "AP") else LATERAL
    long = round(size * rng.uniform(1.0, 1.22))
    upright = rng.random() < (0.97 if projection == LATERAL else 0.3)
    height, width = (long, size) if upright else (size, long)
    return take_radiograph(anatomy, findings, projection=projection, height=height, width=width, rng=rng)


def write_report(rng: np.random.Generator, *, indication: str, labels: Mapping[str, str], exam: str) -> str:
    """A report that asks ``indication`` (may be empty) and tells ``labels`` (``1.0``, ``0.0``, ``-1.0`` or blank)."""
    layout = _LAYOUTS[int(rng.choice(len(_LAYOUTS), p=_SHARES))]
    told = [(label.lower(), value) for label, value in labels.items() if value and label != "No Finding"]
    seen = [_SEEN[value][int(rng.integers(len(_SEEN[value])))].format(label).capitalize() for label, value in told]
    present = [label for label, value in told if value == "1.0"]
    summary = f"{', '.join(present)}.".capitalize() if present else "No acute cardiopulmonary process."
    return layout.format(
        asked=indication, seen=" ".join(seen) or "The lungs are clear.", summary=summary, exam=exam, rule="_" * 78
    )
