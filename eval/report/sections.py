"""The sections of the report that speak of numbers, and the folder where its figures are kept as files."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from eval.report.evidence import Evidence, map_figures, or_reason
from eval.report.figures import calibration_figure, difference_figure, fraction_figure, roc_figure, start_inks, themed
from eval.report.note import note
from eval.report.page_tables import counts_table, input_table, label_names, results_table, subgroup_table
from eval.results.roc import Roc, cells_of, mean_roc
from eval.results.table import Comparison
from eval.study.studies import study_set
from eval.words import MACRO, amount, readout_words
from shards.base.atomic import atomic_write

_Draw = Callable[[Comparison, str, str], str]


class FigureFolder:
    """Writes figures as files, and gives them back for the page, each with ids of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: set[Path] = set()

    def figure(self, name: str, svg: str, *, description: str, is_repeated: bool = False) -> str:
        """``is_repeated``: the file is written under another name."""
        slug = _slug(name)
        shown = f"<figure>{themed(svg, slug.replace('.', '-'), description=description)}</figure>"
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


def curves_section(page: FigureFolder, comparison: Comparison) -> str:
    """AUROC against the share of labels, a figure for each readout."""
    text = (
        f"The line is the mean over draws of labels and encoders, the band the {100 * comparison.level:g} % interval "
        "over the test patients. Bands that overlap say little: differences are measured in pairs, below."
    )
    made = partial(_by_readout, page, comparison, "auroc", fraction_figure)
    return f'<p class="about">{text}</p>{_by_label(comparison, made)}'


def differences_section(page: FigureFolder, comparison: Comparison) -> str:
    """Differences to the baseline, a figure for each readout."""
    if len(comparison.starts) < 2:
        return '<p class="missing">One start only, so there is nothing to subtract.</p>'
    text = (
        f"AUROC minus that of {comparison.baseline}, on the same resamples of the test set. Filled: sure after Holm's "
        "correction for all differences of the comparison; hollow: not sure."
    )
    readouts = [one for one in comparison.readouts if any(row.difference for row in comparison.select(readout=one))]
    made = partial(_by_readout, page, comparison, "difference", difference_figure, readouts=readouts)
    return f'<p class="about">{escape(text)}</p>{_by_label(comparison, made)}'


def _by_readout(
    page: FigureFolder,
    comparison: Comparison,
    name: str,
    draw: _Draw,
    label: str,
    *,
    readouts: Sequence[str] | None = None,
) -> str:
    return "".join(
        page.figure(
            f"{name}-{readout}-{label}",
            draw(comparison, readout, label),
            description=f"{name} of {label} by share of labels, {readout_words(readout)}; the numbers are in the table",
        )
        for readout in (comparison.readouts if readouts is None else readouts)
    )


def _by_label(comparison: Comparison, make: Callable[[str], str], *, instead_of_macro: str | None = None) -> str:
    """The figures of each label, of which the page shows one at a time.

    Args:
        instead_of_macro: label that is spoken of where the mean over the labels is chosen, which has no such figure.
    """
    parts = []
    for number, label in enumerate(label_names(comparison)):
        hidden = " hidden" if number else ""
        heading = label
        if label == MACRO and instead_of_macro is not None:
            heading = f"{instead_of_macro} (other labels: choose above)"
        heading = f"<h3>{escape(heading)}</h3>" if comparison.has_macro else ""
        parts.append(
            f'<div data-label="{escape(label)}"{hidden}>{heading}<div class="figures">{make(label)}</div></div>'
        )
    return "".join(parts)


def roc_section(page: FigureFolder, evidence: Evidence) -> str:
    """ROC and calibration of the answer's readout and fraction."""
    comparison, row = evidence.comparison, evidence.found.row
    inks = start_inks(comparison)
    where = f"{readout_words(row.readout).lower()}, {amount(row.readout, row.fraction)} labelled"

    def make(name: str) -> str:
        label = evidence.label if name == MACRO else name
        shown = partial(page.figure, is_repeated=name == MACRO)

        def roc() -> str:
            figure = roc_figure(_mean_rocs(evidence, label), inks, title=f"ROC, {label}")
            return shown(f"roc-{name}", figure, description=f"ROC curves of {label}, {where}")

        parts = [or_reason(roc)]
        rows = list(comparison.select(readout=row.readout, fraction=row.fraction, label=label))
        if any(one.reliability for one in rows):
            figure = calibration_figure(rows, inks, title=f"Calibration, {label}")
            parts.append(shown(f"calibration-{name}", figure, description=f"Reliability of {label}, {where}"))
        return "".join(parts)

    text = (
        f"{where[0].upper() + where[1:]}: mean curves over draws and encoders. Calibration: studies in bins of "
        "predicted probability, the larger the spot the more studies; on the dashed line probabilities are true."
    )
    return f'<p class="about">{escape(text)}</p>{_by_label(comparison, make, instead_of_macro=evidence.label)}'


def _mean_rocs(evidence: Evidence, label: str) -> dict[str, Roc]:
    comparison, row = evidence.comparison, evidence.found.row
    studies = study_set(evidence.test, label, policy=comparison.protocol["uncertain"])
    curves = {}
    for start in comparison.starts:
        cells = cells_of(evidence.folder, comparison, start, readout=row.readout, fraction=row.fraction)
        scores = [studies.scores_of(cell.test_rows, cell.scores[:, cell.labels.index(label)]) for cell in cells]
        if scores:
            curves[start] = mean_roc(studies.labels, scores)
    return curves


def results_section(comparison: Comparison) -> str:
    """The table of all results, with a filter and the notes that belong to it."""
    notes = "".join(f"<p>{escape(line)}</p>" for line in note([comparison]).splitlines())
    search = '<input type="search" id="search" placeholder="Filter, such as: linear 1 %" aria-label="Filter the table">'
    return f'{search}{results_table(comparison)}<div class="about">{notes}</div>'


def subgroups_section(evidence: Evidence) -> str:
    """Tables of the subgroups, one a label."""
    comparison = evidence.comparison

    def make(name: str) -> str:
        label = evidence.label if name == MACRO else name
        return subgroup_table(comparison, evidence.found, label, name=_slug(f"subgroups-{name}")) or (
            '<p class="missing">None were measured.</p>'
        )

    parts = []
    for number, name in enumerate(label_names(comparison)):
        parts.append(f'<div data-label="{escape(name)}"{" hidden" if number else ""}>{make(name)}</div>')
    text = (
        "Groups of the test patients. A group with too few of either class is not given, and says why. Groups differ "
        "in more than their name, and many are compared: take these as questions, not as findings."
    )
    return f'<p class="about">{text}</p>{"".join(parts)}'


def inputs_section(comparison: Comparison) -> str:
    """What the indication adds to the image, and the image to the indication."""
    parts = [
        f'<div data-label="{escape(name)}"{" hidden" if number else ""}>'
        f"{input_table(comparison, name, name=_slug(f'inputs-{name}'))}</div>"
        for number, name in enumerate(label_names(comparison))
    ]
    text = (
        "The same network with one input masked away, trained and tested so: AUROC of both inputs minus that of one, "
        "on the same resamples. Corrected by Holm over these differences."
    )
    return f'<p class="about">{text} {escape(_texts_words(comparison))}</p>{"".join(parts)}'


def _texts_words(comparison: Comparison) -> str:
    """What became of the test images' texts; they and their vocabulary are those of the first draw's."""
    row = next(comparison.select(readout="multimodal"))
    counts = row.draws[0].details["cells"][0]["texts"]["test"]
    return (
        f"Of {counts['num_texts']:,} test texts {counts['num_empty']:,} are empty or missing, "
        f"{counts['num_truncated']:,} were cut, {counts['num_foreign']:,} are mostly of unknown words."
    )


def map_section(page: FigureFolder, evidence: Evidence) -> str:
    """Maps of the embedding; or why there are none."""
    comparison = evidence.comparison

    def make() -> str:
        figures = map_figures(evidence, comparison.labels)

        def of_label(label: str) -> str:
            shown = figures[evidence.label if label == MACRO else label]
            description = f"Map of the embedding, coloured by {label}"
            return "".join(
                page.figure(
                    f"map-{start}-{label}", svg, description=f"{description}, {start}", is_repeated=label == MACRO
                )
                for start, svg in shown.items()
            )

        text = (
            f"{len(evidence.sample):,} test images by t-SNE of 50 principal components of the frozen features. What "
            "lies together is alike to the encoder; distances between groups mean little."
        )
        return f'<p class="about">{text}</p>{_by_label(comparison, of_label, instead_of_macro=evidence.label)}'

    return or_reason(make)


def method_section(comparison: Comparison) -> str:
    """Commands, test set, starts, protocol, versions."""
    starts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(start.encoder)} from {escape(', '.join(start.sources))}, "
        f"{start.num_features} features, {len(start.hashes)} encoder{'s' if len(start.hashes) > 1 else ''}</dd>"
        for name, start in comparison.starts.items()
        if start.sources
    )
    facts: dict[str, Mapping[str, Any]] = {
        "Protocol": comparison.protocol,
        "Configuration": comparison.config,
        "Views of each start": comparison.views,
        "Datasets": {"folders": comparison.data, "fingerprints": comparison.datasets},
        "Encoders": {name: start.hashes for name, start in comparison.starts.items()},
        "Versions": comparison.versions,
        "Seconds": {name: round(seconds, 1) for name, seconds in comparison.seconds.items()},
    }
    folded = "".join(
        f"<details><summary>{name}</summary><pre>{escape(_lines(values))}</pre></details>"
        for name, values in facts.items()
    )
    commands = f"{comparison.command}\npython -m eval report FOLDER"
    return (
        f'<p class="about">Repeat it with these commands, FOLDER being that of results.json:</p><pre>{escape(commands)}'
        f"</pre>{counts_table(comparison)}<h3>Starts</h3><dl>{starts}</dl>{folded}"
    )


def _lines(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {json.dumps(value, default=str)}" for name, value in values.items())
