"""A comparison as tables: aligned text for terminals, Markdown, LaTeX (booktabs), and CSV with every number.

There is one table for each readout, with a line for each label, fraction and start, and on request one of the
subgroups.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eval.readouts.registry import READOUTS
from eval.report.latex import label_of, latex_table
from eval.report.note import note
from eval.report.terminal import aligned, wrapped
from eval.results.table import Comparison, Row, SubgroupRow
from eval.stats.interval import Interval
from eval.words import MACRO, Format, Metric, interval_text, p_text
from shards.base.errors import InputError

_CSV_METRICS: tuple[Metric, ...] = ("auroc", "average_precision", "sensitivity", "ece")


@dataclass(frozen=True)
class _Table:
    title: str
    header: list[str]
    lines: list[list[str]]


def render(
    comparisons: Sequence[Comparison],
    format: Format,
    *,
    metric: Metric = "auroc",
    subgroups: bool = False,
    narrow: bool = False,
) -> str:
    """All tables of the comparisons in one of the formats; CSV always holds all metrics, and no subgroups;
    ``narrow`` is for LaTeX.

    Raises:
        InputError: narrow, and another format.
    """
    if narrow and format != "latex":
        raise InputError(f"--narrow: goes with --format latex, not {format}")
    match format:
        case "text":
            return text_tables(comparisons, metric=metric, subgroups=subgroups)
        case "markdown":
            return markdown_tables(comparisons, metric=metric, subgroups=subgroups)
        case "latex":
            return latex_tables(comparisons, metric=metric, subgroups=subgroups, narrow=narrow)
        case "csv":
            return csv_table(comparisons)


def text_tables(comparisons: Sequence[Comparison], *, metric: Metric = "auroc", subgroups: bool = False) -> str:
    """Aligned tables, each under a line that says what was tested, and a note on how to read them."""
    blocks = [
        f"{wrapped(table.title)}\n{aligned(table.header, table.lines)}"
        for table in _tables(comparisons, metric, subgroups)
    ]
    return "\n\n".join([*blocks, wrapped(note(comparisons))])


def markdown_tables(comparisons: Sequence[Comparison], *, metric: Metric = "auroc", subgroups: bool = False) -> str:
    """The same tables in Markdown."""
    blocks = []
    for table in _tables(comparisons, metric, subgroups):
        lines = [f"| {' | '.join(row)} |" for row in (table.header, ["---"] * len(table.header), *table.lines)]
        blocks.append("\n".join([f"**{table.title}**", "", *lines]))
    return "\n\n".join([*blocks, note(comparisons)])


def latex_tables(
    comparisons: Sequence[Comparison], *, metric: Metric = "auroc", subgroups: bool = False, narrow: bool = False
) -> str:
    """The same tables for LaTeX with the package booktabs, and the note below each. ``narrow``: for a column of two,
    without counts and p-values; what is sure has a star."""
    blocks = []
    for table in _tables(comparisons, metric, subgroups, narrow):
        short = table.title.partition(" on ")[0]
        blocks.append(
            latex_table(
                table.header,
                table.lines,
                caption=short,
                title=table.title.partition("; ")[0],
                note=note(comparisons, is_narrow=narrow).replace("\n", " "),
                label=label_of(short),
            )
        )
    return "\n\n".join(["% needs \\usepackage{booktabs}", *blocks])


def csv_table(comparisons: Sequence[Comparison]) -> str:
    """Every row of the comparisons with every number, one line each, for other programs."""
    columns = ["dataset", "protocol", "readout", "label", "start", "fraction", "draws"]
    columns += ["images", "positives", "extended"]
    columns += [f"{metric}{limit}" for metric in _CSV_METRICS for limit in ("", "_low", "_high")]
    columns += ["against", "difference", "difference_low", "difference_high", "p", "p_holm", "p_delong"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for comparison in comparisons:
        for row in comparison.rows:
            values: list[object] = [comparison.dataset, comparison.protocol["name"], row.readout, row.label, row.start]
            values += [row.fraction, len(row.draws)]
            has_counts = row.label != MACRO  # of which each label has its own
            values += [_mean_of(row, name) if has_counts else "" for name in ("num_images", "num_positives")]
            values.append(any(draw.is_extended for draw in row.draws))
            for metric in _CSV_METRICS:
                interval: Interval = getattr(row, metric)
                values += [interval.estimate, interval.low, interval.high]
            if row.difference is None:
                values += [""] * 7
            else:
                found = row.difference
                values += [found.against, found.auroc.estimate, found.auroc.low, found.auroc.high]
                values += [found.p_value, found.p_holm, "" if found.p_delong is None else found.p_delong]
            writer.writerow(values)
    return text.getvalue().rstrip("\n")


def _tables(
    comparisons: Sequence[Comparison], metric: Metric, subgroups: bool, is_narrow: bool = False
) -> Iterator[_Table]:
    for comparison in comparisons:
        for readout in comparison.readouts:
            yield _table(comparison, readout, metric, is_narrow)
        if comparison.inputs:
            yield _input_table(comparison)
        if subgroups and comparison.subgroups:
            yield _subgroup_table(comparison)
            if any(row.true_positive_rate for row in comparison.subgroups):
                yield _rate_table(comparison)
            if comparison.gaps:
                yield _gap_table(comparison)


def _table(comparison: Comparison, readout: str, metric: Metric, is_narrow: bool) -> _Table:
    """One line for each label, fraction and start; what is as in the line above is left blank."""
    level = _level(comparison)
    header = (["label"] if comparison.has_macro else []) + ["labelled"]
    header += [*([] if is_narrow else ["images (positive)"]), "start"]
    header.append(f"{'AUROC' if metric == 'auroc' else metric.replace('_', ' ')} {level}")
    has_differences = metric == "auroc" and any(row.difference for row in comparison.select(readout=readout))
    if has_differences:
        header += [f"minus {comparison.baseline} {level}", *([] if is_narrow else ["p (Holm)", "it is"])]
    lines = []
    above: tuple[str, float] | None = None
    for row in comparison.select(readout=readout):
        of_row = [READOUTS[row.readout].amount(row.fraction), *([] if is_narrow else [_counts(row)])]
        if comparison.has_macro:
            of_row.insert(0, "" if above and above[0] == row.label else row.label)
        if above == (row.label, row.fraction):
            of_row = [""] * len(of_row)
        above = (row.label, row.fraction)
        line = [*of_row, row.start, interval_text(getattr(row, metric))]
        if has_differences:
            line += _difference_cells(row, comparison.level, is_narrow)
        lines.append(line)
    return _Table(_title(comparison, readout, metric), header, lines)


def _difference_cells(row: Row, level: float, is_narrow: bool) -> list[str]:
    found = row.difference
    if found is None:
        return [""] * (1 if is_narrow else 3)
    if is_narrow:
        return [interval_text(found.auroc, sign="+") + ("" if found.verdict(level) == "unclear" else "*")]
    return [interval_text(found.auroc, sign="+"), p_text(found.p_holm), found.verdict(level)]


def metric_words(comparison: Comparison, metric: Metric) -> str:
    """The metric's name in a sentence."""
    return {
        "auroc": "AUROC",
        "average_precision": "average precision",
        "sensitivity": f"sensitivity at {100 * comparison.specificity:g} % specificity",
        "ece": "calibration error (ECE)",
    }[metric]


def _title(comparison: Comparison, readout: str, metric: Metric) -> str:
    protocol = comparison.protocol
    encoders = " and ".join(dict.fromkeys(start.encoder for start in comparison.starts.values() if start.sources))
    runs = [source for start in comparison.starts.values() if start.is_run for source in start.sources]
    where = f"; {encoders}" + (f" of {', '.join(dict.fromkeys(runs))}" if runs else "")
    views = "" if protocol["view"] == "all" else f", {protocol['view']} views"
    split = "cross-validated" if protocol["name"] == "cross-validated" else protocol["test_split"]
    if comparison.has_macro:
        what = f"{len(comparison.labels)} labels"
        studies = max(counts.num_studies for counts in comparison.test.values())
        patients = max(counts.num_patients for counts in comparison.test.values())
        tested = f"up to {studies:,} {split} studies of {patients:,} patients"
    else:
        (what,) = comparison.labels
        test = comparison.test[what]
        tested = (
            f"{test.num_studies:,} {split} studies ({test.num_positive_studies:,} positive) "
            f"of {test.num_patients:,} patients"
        )
    name = READOUTS[readout].the_phrase
    layers = comparison.config.get("layers") if READOUTS[readout].is_frozen else None
    name += f" on layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}" if layers else ""
    published = ", published protocol" if protocol["name"] == "published" else ""
    folds = f", {protocol['folds']} folds" if protocol["name"] == "cross-validated" else ""
    figure = f"{metric_words(comparison, metric)} of {name}"
    return f"{comparison.dataset}, {what}: {figure} on {tested}{views}{published}{folds}{where}"


def _subgroup_table(comparison: Comparison) -> _Table:
    """Who, how many, AUROC or why there is none."""
    header = ["label", "readout", "labelled", "group", "studies (positive)", "start", f"AUROC {_level(comparison)}"]
    header.append(f"minus {comparison.baseline} {_level(comparison)}")
    lines = []
    for row in comparison.subgroups:
        figure = interval_text(row.auroc) if row.auroc else f"- ({row.reason})"
        difference = interval_text(row.difference, sign="+") if row.difference else ""
        lines.append([*_group_cells(row), row.start, figure, difference])
    return _Table(f"{comparison.dataset}: AUROC in groups of the test set, at the largest fraction", header, lines)


def _rate_table(comparison: Comparison) -> _Table:
    """What one threshold does to each group."""
    header = ["label", "readout", "labelled", "group", "studies (positive)", "start"]
    header += [f"true positives {_level(comparison)}", f"false positives {_level(comparison)}"]
    lines = [
        [*_group_cells(row), row.start]
        + [interval_text(rate) if rate else "-" for rate in (row.true_positive_rate, row.false_positive_rate)]
        for row in comparison.subgroups
        if row.true_positive_rate or row.false_positive_rate
    ]
    return _Table(f"{comparison.dataset}: rates in groups, {threshold_words(comparison)}", header, lines)


def _group_cells(row: SubgroupRow) -> list[str]:
    amount = READOUTS[row.readout].amount(row.fraction)
    counts = f"{row.num_studies:,} ({row.num_positive_studies:,})"
    return [row.label, row.readout, amount, f"{row.attribute} {row.group}", counts]


def _gap_table(comparison: Comparison) -> _Table:
    """How far apart groups are at one threshold, and which is worst."""
    header = ["label", "readout", "start", "groups by", "rate of", "worst", "best", f"gap {_level(comparison)}"]
    lines = [
        [one.label, one.readout, one.start, one.attribute, f"{one.rate}s", one.worst, one.best, interval_text(one.size)]
        for one in comparison.gaps
    ]
    return _Table(f"{comparison.dataset}: gaps between groups, {threshold_words(comparison)}", header, lines)


def threshold_words(comparison: Comparison) -> str:
    """At which threshold the rates of groups are."""
    share = f"{100 * comparison.specificity:g} %"
    return f"at the threshold that {share} of the negative validation studies stay under"


def _input_table(comparison: Comparison) -> _Table:
    """What the image adds to the text, and the text to the image."""
    header = (["label"] if comparison.has_macro else []) + ["labelled", "start", "both minus"]
    header += [f"AUROC {_level(comparison)}", "p (Holm)", "both are"]
    lines = []
    for row in comparison.inputs:
        line = [row.label] if comparison.has_macro else []
        line += [f"{100 * row.fraction:g} %", row.start, f"{row.alone} alone", interval_text(row.auroc, sign="+")]
        lines.append([*line, p_text(row.p_holm), row.verdict(comparison.level)])
    title = f"{comparison.dataset}: AUROC of the multimodal classifier minus that of one input alone"
    return _Table(title, header, lines)


def _level(comparison: Comparison) -> str:
    return f"[{100 * comparison.level:g} % CI]"


def _counts(row: Row) -> str:
    """Images and positives of the draws: one number if all draws agree, else the mean with a tilde; each label has its
    own, and the mean over them none."""
    if row.label == MACRO:
        return "-"
    images = _rounded([draw.num_images for draw in row.draws])
    positives = _rounded([draw.num_positives for draw in row.draws])
    mark = "*" if any(draw.is_extended for draw in row.draws) else ""
    return f"{images} ({positives}){mark}"


def _rounded(counts: list[int]) -> str:
    return f"{counts[0]:,}" if len(set(counts)) == 1 else f"~{sum(counts) / len(counts):,.0f}"


def _mean_of(row: Row, field: str) -> float:
    return sum(getattr(draw, field) for draw in row.draws) / len(row.draws)
