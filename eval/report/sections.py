"""What each section of the report shows, as data for its templates, and the folder where figures are kept as files."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from eval.readouts.registry import READOUTS
from eval.report.embedding import embed
from eval.report.evidence import Evidence, Missing, or_reason
from eval.report.figures import (
    calibration_figure,
    difference_figure,
    fraction_figure,
    map_figure,
    roc_figure,
    start_inks,
    themed,
)
from eval.report.sortable import SortableTable, gap_table, input_table, label_names, subgroup_table
from eval.results.roc import Roc, cells_of, mean_roc
from eval.results.table import Comparison
from eval.study.cells import Cell
from eval.study.studies import study_set
from eval.words import MACRO
from shards.base.atomic import atomic_write

Figures = list[str | Missing]  # SVG


@dataclass(frozen=True)
class Part:
    """What is shown of a section while ``label`` is the one chosen, and ``setting`` where there is a choice of it. The
    first of several parts is what is shown before anything is chosen."""

    label: str
    content: Figures | list[SortableTable] | Missing
    heading: str | None = None
    setting: str | None = None


@dataclass(frozen=True)
class Maps:
    """Figures of the embedding of so many images."""

    num_images: str
    parts: list[Part]


class FigureFolder:
    """Writes figures as files, and gives them back for the page, each with ids of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: set[Path] = set()

    def figure(self, name: str, svg: str, *, description: str, is_repeated: bool = False) -> str:
        """``is_repeated``: the file is written under another name."""
        slug = _slug(name)
        shown = themed(svg, slug.replace(".", "-"), description=description)
        if is_repeated:
            return shown
        path = self.folder / f"{slug}.svg"
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, svg)
        self.written.add(path)
        return shown

    def remove_old(self) -> None:
        """Figures of a former page that this one lacks would be taken for its own."""
        for path in set(self.folder.glob("*.svg")) - self.written:
            path.unlink()


def _slug(name: str) -> str:
    """A name that files and ids can bear."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def curves(folder: FigureFolder, comparison: Comparison) -> list[Part]:
    """AUROC against the share of labels, a figure for each readout."""
    return _by_readout(folder, comparison, "auroc", fraction_figure, comparison.readouts)


def differences(folder: FigureFolder, comparison: Comparison) -> list[Part] | Missing:
    """Differences to the baseline, a figure for each readout that has some."""
    if len(comparison.starts) < 2:
        return Missing("One start only, so there is nothing to subtract.")
    readouts = [one for one in comparison.readouts if any(row.difference for row in comparison.select(readout=one))]
    return _by_readout(folder, comparison, "difference", difference_figure, readouts)


def _by_readout(
    folder: FigureFolder,
    comparison: Comparison,
    name: str,
    draw: Callable[[Comparison, str, str], str],
    readouts: Sequence[str],
) -> list[Part]:
    def figures(label: str) -> Figures:
        about = f"{name} of {label} by share of labels"
        return [
            folder.figure(
                f"{name}-{readout}-{label}",
                draw(comparison, readout, label),
                description=f"{about}, {READOUTS[readout].heading}; the numbers are in the table",
            )
            for readout in readouts
        ]

    return _by_label(comparison, figures)


def _by_label(
    comparison: Comparison, make: Callable[[str], Figures], *, instead_of_macro: str | None = None
) -> list[Part]:
    """The figures of each label.

    Args:
        instead_of_macro: label that is spoken of where the mean over the labels is chosen, which has no such figure.
    """
    parts = []
    for label in label_names(comparison):
        is_replaced = label == MACRO and instead_of_macro is not None
        heading = f"{instead_of_macro} (other labels: choose above)" if is_replaced else label
        parts.append(Part(label, make(label), heading if comparison.has_macro else None))
    return parts


def settings(evidence: Evidence) -> dict[str, str]:
    """Each readout and fraction in words, by a name that ids can bear; the headline's comes first."""
    rows = [evidence.headline.row, *evidence.comparison.rows]
    return {_setting(row.readout, row.fraction): _setting_words(row.readout, row.fraction) for row in rows}


def _setting(readout: str, fraction: float) -> str:
    return f"{readout}-{fraction:g}"


def _setting_words(readout: str, fraction: float) -> str:
    return f"{READOUTS[readout].heading}, {READOUTS[readout].amount(fraction)} labelled"


def rocs(folder: FigureFolder, evidence: Evidence) -> list[Part]:
    """ROC and calibration of each readout and fraction, the headline's first."""
    comparison, first = evidence.comparison, evidence.headline.row
    shown = dict.fromkeys([(first.readout, first.fraction), *((row.readout, row.fraction) for row in comparison.rows)])
    return [part for readout, fraction in shown for part in _rocs(folder, evidence, readout, fraction)]


def _rocs(folder: FigureFolder, evidence: Evidence, readout: str, fraction: float) -> list[Part]:
    comparison = evidence.comparison
    inks = start_inks(comparison)
    setting, where = _setting(readout, fraction), _setting_words(readout, fraction)
    cells = {
        start: list(cells_of(evidence.folder, comparison, start, readout=readout, fraction=fraction))
        for start in comparison.starts
    }

    def figures(name: str) -> Figures:
        label = evidence.label if name == MACRO else name
        add = partial(folder.figure, is_repeated=name == MACRO)

        def roc() -> str:
            figure = roc_figure(_mean_rocs(evidence, label, cells), inks, title=f"ROC, {label}")
            return add(f"roc-{setting}-{name}", figure, description=f"ROC curves of {label}, {where}")

        made: Figures = [or_reason(roc)]
        rows = list(comparison.select(readout=readout, fraction=fraction, label=label))
        if any(one.reliability for one in rows):
            figure = calibration_figure(rows, inks, title=f"Calibration, {label}")
            made.append(add(f"calibration-{setting}-{name}", figure, description=f"Reliability of {label}, {where}"))
        return made

    parts = _by_label(comparison, figures, instead_of_macro=evidence.label)
    return [replace(part, setting=setting, heading=", ".join(filter(None, [part.heading, where]))) for part in parts]


def _mean_rocs(evidence: Evidence, label: str, cells: Mapping[str, Sequence[Cell]]) -> dict[str, Roc]:
    studies = study_set(evidence.test, label, policy=evidence.comparison.protocol["uncertain"])
    curves = {}
    for start, several in cells.items():
        scores = [studies.scores_of(cell.test_rows, cell.scores[:, cell.labels.index(label)]) for cell in several]
        if scores:
            curves[start] = mean_roc(studies.labels, scores, studies.folds_of(several[0]))
    return curves


def groups(evidence: Evidence) -> list[Part]:
    """Tables of the subgroups and of their gaps, two a label."""
    parts = []
    for name in label_names(evidence.comparison):
        about = (evidence.comparison, evidence.headline, evidence.label if name == MACRO else name)
        tables = [
            subgroup_table(*about, name=_slug(f"subgroups-{name}")),
            gap_table(*about, name=_slug(f"gaps-{name}")),
        ]
        known = [table for table in tables if table]
        parts.append(Part(name, known or Missing("None were measured.")))
    return parts


def inputs(comparison: Comparison) -> list[Part]:
    """What the indication adds to the image, and the image to the indication."""
    return [Part(one, [input_table(comparison, one, name=_slug(f"inputs-{one}"))]) for one in label_names(comparison)]


def texts(comparison: Comparison) -> str:
    """What became of the test images' texts; they and their vocabulary are those of the first draw's."""
    row = next(comparison.select(readout="multimodal"))
    cell = row.draws[0].details["cells"][0]
    counts = Counter[str]()
    for fold in cell.get("folds", [cell]):
        counts.update(fold["texts"]["test"])
    return (
        f"Of {counts['num_texts']:,} test texts {counts['num_empty']:,} are empty or missing, "
        f"{counts['num_truncated']:,} were cut, {counts['num_foreign']:,} are mostly of unknown words."
    )


def maps(folder: FigureFolder, evidence: Evidence) -> Maps:
    """Maps of the embedding by the asked-about start and by the baseline.

    Raises:
        InputError: see :class:`Evidence`; too few images.
    """
    starts = dict.fromkeys([evidence.headline.start, evidence.comparison.baseline])
    points = {start: embed(evidence.features(start), seed=evidence.seed) for start in starts}

    def figures(name: str) -> Figures:
        label = evidence.label if name == MACRO else name
        return [
            folder.figure(
                f"map-{start}-{name}",
                map_figure(points[start], evidence.labels(label), title=start, label=label),
                description=f"Map of the embedding, coloured by {name}, {start}",
                is_repeated=name == MACRO,
            )
            for start in starts
        ]

    parts = _by_label(evidence.comparison, figures, instead_of_macro=evidence.label)
    return Maps(f"{len(evidence.sample):,}", parts)


def method(comparison: Comparison) -> dict[str, str]:
    """Protocol, settings, datasets and versions, each a line of JSON for each of its fields."""
    facts: dict[str, dict[str, Any]] = {
        "Protocol": comparison.protocol,
        "Configuration": comparison.config,
        "Views of each start": comparison.views,
        "Datasets": {"folders": comparison.data, "fingerprints": comparison.datasets},
        "Encoders": {name: start.hashes for name, start in comparison.starts.items()},
        "Versions": comparison.versions,
        "Seconds": {name: round(seconds, 1) for name, seconds in comparison.seconds.items()},
    }
    return {
        heading: "\n".join(f"{name}: {json.dumps(value, default=str)}" for name, value in values.items())
        for heading, values in facts.items()
    }
