"""The report's tables, as data: cells of a text and of what ``page.js`` sorts them by."""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.readouts.registry import READOUTS
from eval.report.figures import start_inks, start_variable
from eval.report.tables import metric_words, threshold_words
from eval.results.headline import Headline
from eval.results.table import Comparison, Row, SubgroupRow
from eval.stats.interval import Interval
from eval.words import MACRO, interval_text, p_text, tested_text


@dataclass(frozen=True)
class Entry:
    """A cell: ``text`` behind a spot of ``color`` (a variable of page.css), ``limits`` fainter behind it, ``value`` to
    sort by where that is not the text, ``kind`` for page.css."""

    text: str
    value: float | str | None = None
    kind: str = ""
    limits: str = ""
    color: str = ""


@dataclass(frozen=True, kw_only=True)
class SortableTable:
    """``name`` is its id, and its ``caption`` what readers of the screen are told."""

    name: str
    caption: str
    header: Sequence[str]
    lines: Sequence[Sequence[Entry]]

    @property
    def same(self) -> list[bool]:
        """Of each column whether it has the same words in all of several lines: left out where the screen is narrow."""
        columns = zip(*self.lines, strict=True)
        return [
            len(column) > 1 and not column[0].kind and len({one.text for one in column}) == 1 for column in columns
        ] or [False] * len(self.header)


def results_table(comparison: Comparison) -> SortableTable:
    """Every row of the comparison: readout, labels, start, AUROC, difference, and the other metrics."""
    level = f"[{100 * comparison.level:g} % CI]"
    header = ["readout", "labelled", "label", "start", f"AUROC {level}", f"minus {comparison.baseline}", "p (Holm)"]
    header += ["verdict", "average precision", metric_words(comparison, "sensitivity"), "ECE"]
    header += ["p (DeLong)", "images", "positive"]
    lines = []
    for row in comparison.rows:
        images, positives = (
            sum(getattr(draw, field) for draw in row.draws) / len(row.draws)
            for field in ("num_images", "num_positives")
        )
        mark = "*" if any(draw.is_extended for draw in row.draws) else ""
        lines.append(
            [
                Entry(READOUTS[row.readout].heading),
                Entry(READOUTS[row.readout].amount(row.fraction), row.fraction),
                Entry(row.label),
                _start(comparison, row.start),
                _interval(row.auroc),
                *_difference(row, comparison.level),
                *(_interval(one) for one in (row.average_precision, row.sensitivity, row.ece)),
                _delong(row),
                Entry(f"{images:,.0f}{mark}", images, "number"),
                Entry(f"{positives:,.0f}", positives, "number"),
            ]
        )
    caption = "Every readout, fraction, label and start; a heading sorts, a second press turns the order."
    return SortableTable(name="results", caption=caption, header=header, lines=lines)


def subgroup_table(comparison: Comparison, headline: Headline, label: str, *, name: str) -> SortableTable | None:
    """The subgroups of one label in the readout and at the fraction of the headline, or else at the largest fraction
    that has them, with the rates of the headline's start; None where there are none. ``name`` is the table's id."""
    rows = [row for row in comparison.subgroups if row.label == label and row.readout == headline.row.readout]
    if not rows:
        return None
    fractions = sorted({row.fraction for row in rows})
    fraction = headline.row.fraction if headline.row.fraction in fractions else fractions[-1]
    groups: dict[tuple[str, str], dict[str, SubgroupRow]] = {}
    for row in rows:
        if row.fraction == fraction:
            groups.setdefault((row.attribute, row.group), {})[row.start] = row
    starts = [start for start in comparison.starts if any(start in by_start for by_start in groups.values())]
    asked = [start for start in starts if start == headline.start and start != comparison.baseline]
    has_rates = any(row.true_positive_rate for row in rows)
    level = f"[{100 * comparison.level:g} % CI]"
    header = ["attribute", "group", *(f"{start} {level}" for start in starts)]
    header += [f"{start} minus {comparison.baseline}" for start in asked]
    header += ["true positive rate", "false positive rate"] * has_rates
    header += ["studies", "positive", "patients"]
    lines = []
    for (attribute, group), by_start in groups.items():
        first = next(iter(by_start.values()))
        line = [Entry(attribute), Entry(group)]
        line += [_subgroup(by_start.get(start), "auroc") for start in starts]
        line += [_subgroup(by_start.get(start), "difference") for start in asked]
        if has_rates:
            line += [_subgroup(by_start.get(headline.start), f"{rate}_positive_rate") for rate in ("true", "false")]
        line += map(_count, (first.num_studies, first.num_positive_studies, first.num_patients))
        lines.append(line)
    readout = READOUTS[headline.row.readout]
    caption = f"{label}, {readout.heading.lower()}, {readout.amount(fraction)} labelled: AUROC by start"
    caption += f"; rates of {headline.start}" if has_rates else ""
    return SortableTable(name=name, caption=caption, header=header, lines=lines)


def gap_table(comparison: Comparison, headline: Headline, label: str, *, name: str) -> SortableTable | None:
    """How far the worst and the best group of each attribute lie apart, of the headline's readout and start; None where
    no rates were measured."""
    rows = [
        row
        for row in comparison.gaps
        if (row.label, row.readout, row.start) == (label, headline.row.readout, headline.start)
    ]
    if not rows:
        return None
    header = ["groups by", "rate of", "worst", "best", f"gap [{100 * comparison.level:g} % CI]"]
    lines = [
        [Entry(row.attribute), Entry(f"{row.rate}s"), Entry(row.worst), Entry(row.best), _interval(row.size)]
        for row in rows
    ]
    caption = f"{label}, {headline.start}: gaps between groups, {threshold_words(comparison)}"
    return SortableTable(name=name, caption=caption, header=header, lines=lines)


def input_table(comparison: Comparison, label: str, *, name: str) -> SortableTable:
    """What each input of the multimodal classifier adds, for one label or the mean over all."""
    header = ["labelled", "start", "both minus", f"AUROC [{100 * comparison.level:g} % CI]", "p (Holm)", "both are"]
    lines = [
        [
            Entry(READOUTS["multimodal"].amount(row.fraction), row.fraction),
            _start(comparison, row.start),
            Entry(f"{row.alone} alone"),
            _interval(row.auroc, sign="+"),
            Entry(p_text(row.p_holm), row.p_holm, "number"),
            _verdict(row.verdict(comparison.level)),
        ]
        for row in comparison.inputs
        if row.label == label
    ]
    caption = f"{label}: image and indication against one of them alone"
    return SortableTable(name=name, caption=caption, header=header, lines=lines)


def counts_table(comparison: Comparison) -> SortableTable:
    """What the test set held of each label."""
    lines = []
    for label, of in comparison.test.items():
        share = of.num_positive_studies / max(1, of.num_studies)
        counts = (of.num_images, of.num_studies, of.num_patients, of.num_positive_studies)
        lines.append([Entry(label), *map(_count, counts), Entry(f"{100 * share:.1f} %", share, "number")])
    header = ["label", "images", "studies", "patients", "positive studies", "share"]
    caption = f"Test set: {tested_text(comparison.protocol)} of {comparison.dataset}"
    return SortableTable(name="test-set", caption=caption, header=header, lines=lines)


def label_names(comparison: Comparison) -> list[str]:
    """What can be chosen to look at: the mean over the labels where there are several, then each."""
    return [MACRO, *comparison.labels] if comparison.has_macro else list(comparison.labels)


def _start(comparison: Comparison, start: str) -> Entry:
    ink = start_inks(comparison).get(start)
    return Entry(start, start, color=start_variable(ink) if ink else "--faint")


def _count(count: int) -> Entry:
    return Entry(f"{count:,}", count, "number")


def _verdict(verdict: str) -> Entry:
    return Entry(verdict, verdict, f"verdict {verdict}")


def _difference(row: Row, level: float) -> list[Entry]:
    found = row.difference
    if found is None:
        return [Entry("", "")] * 3
    holm = Entry(p_text(found.p_holm), found.p_holm, "number")
    return [_interval(found.auroc, sign="+"), holm, _verdict(found.verdict(level))]


def _delong(row: Row) -> Entry:
    value = row.difference.p_delong if row.difference else None
    return Entry("", "") if value is None else Entry(p_text(value), value, "number")


def _interval(interval: Interval, *, sign: str = "") -> Entry:
    estimate, limits = interval_text(interval, sign=sign).split(" ", 1)
    return Entry(estimate, interval.estimate, "number", limits)


def _subgroup(row: SubgroupRow | None, field: str) -> Entry:
    interval = getattr(row, field) if row else None
    if interval is not None:
        return _interval(interval, sign="+" if field == "difference" else "")
    reason = row.reason if row and field == "auroc" else None
    return Entry("\N{EN DASH}", "", limits=reason or "")
