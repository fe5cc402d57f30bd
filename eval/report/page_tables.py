"""The report's tables in HTML. Cells that hold a number carry it as ``data-value``, by which ``page.js`` sorts."""

from collections.abc import Sequence
from html import escape

from eval.report.figures import start_inks, start_variable
from eval.report.tables import metric_words
from eval.results.headline import Answer
from eval.results.table import Comparison, Row, SubgroupRow
from eval.stats.interval import Interval
from eval.words import MACRO, amount, interval_text, p_text, readout_words


def cell(text: str, value: float | str | None = None, *, kind: str = "") -> str:
    """A cell; ``value`` is what it is sorted by, where not its text."""
    attributes = f' data-value="{escape(str(value))}"' if value is not None else ""
    attributes += f' class="{kind}"' if kind else ""
    return f"<td{attributes}>{text}</td>"


def table(header: Sequence[str], lines: Sequence[Sequence[str]], *, name: str, caption: str, sorts: bool = True) -> str:
    """A table that scrolls sideways in its own frame where the page is narrow.

    Args:
        lines: cells as :func:`cell` makes them.
    """
    heads = "".join(
        f'<th scope="col">{f"<button type=button>{escape(one)}</button>" if sorts and one else escape(one)}</th>'
        for one in header
    )
    body = "\n".join(f"<tr>{''.join(line)}</tr>" for line in lines)
    sortable = ' class="sortable"' if sorts else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table id="{escape(name)}"{sortable}>'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def results_table(comparison: Comparison) -> str:
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
                cell(escape(readout_words(row.readout))),
                cell(amount(row.readout, row.fraction), row.fraction),
                cell(escape(row.label)),
                cell(start_chip(comparison, row.start), row.start),
                _interval(row.auroc),
                *_difference(row, comparison.level),
                *(_interval(one) for one in (row.average_precision, row.sensitivity, row.ece)),
                _delong(row),
                cell(f"{images:,.0f}{mark}", images, kind="number"),
                cell(f"{positives:,.0f}", positives, kind="number"),
            ]
        )
    caption = "Every readout, fraction, label and start; a heading sorts, a second press turns the order."
    return table(header, lines, name="results", caption=caption)


def subgroup_table(comparison: Comparison, found: Answer, label: str, *, name: str) -> str:
    """The subgroups of one label in the readout and at the fraction of the answer, or else at the largest fraction
    that has them; empty where there are none. ``name`` is the table's id."""
    rows = [row for row in comparison.subgroups if row.label == label and row.readout == found.row.readout]
    if not rows:
        return ""
    fractions = sorted({row.fraction for row in rows})
    fraction = found.row.fraction if found.row.fraction in fractions else fractions[-1]
    groups: dict[tuple[str, str], dict[str, SubgroupRow]] = {}
    for row in rows:
        if row.fraction == fraction:
            groups.setdefault((row.attribute, row.group), {})[row.start] = row
    starts = [start for start in comparison.starts if any(start in by_start for by_start in groups.values())]
    level = f"[{100 * comparison.level:g} % CI]"
    header = ["attribute", "group", "studies", "positive", "patients", *(f"{start} {level}" for start in starts)]
    asked = [start for start in starts if start == found.start and start != comparison.baseline]
    header += [f"{start} minus {comparison.baseline}" for start in asked]
    lines = []
    for (attribute, group), by_start in groups.items():
        first = next(iter(by_start.values()))
        counts = (first.num_studies, first.num_positive_studies, first.num_patients)
        line = [cell(escape(attribute)), cell(escape(group))]
        line += [cell(f"{count:,}", count, kind="number") for count in counts]
        line += [_subgroup(by_start.get(start), "auroc") for start in starts]
        line += [_subgroup(by_start.get(start), "difference") for start in asked]
        lines.append(line)
    caption = f"{label}, {readout_words(found.row.readout).lower()}, {amount(found.row.readout, fraction)} labelled"
    return table(header, lines, name=name, caption=caption)


def input_table(comparison: Comparison, label: str, *, name: str) -> str:
    """What each input of the multimodal classifier adds, for one label or the mean over all."""
    header = ["labelled", "start", "both minus", f"AUROC [{100 * comparison.level:g} % CI]", "p (Holm)", "both are"]
    lines = []
    for row in comparison.inputs:
        if row.label != label:
            continue
        verdict = row.verdict(comparison.level)
        lines.append(
            [
                cell(amount("multimodal", row.fraction), row.fraction),
                cell(start_chip(comparison, row.start), row.start),
                cell(f"{row.alone} alone"),
                _interval(row.auroc, sign="+"),
                cell(p_text(row.p_holm), row.p_holm, kind="number"),
                cell(verdict, verdict, kind=f"verdict {verdict}"),
            ]
        )
    return table(header, lines, name=name, caption=f"{label}: image and indication against one of them alone")


def counts_table(comparison: Comparison) -> str:
    """What the test set held of each label."""
    lines = []
    for label, counts in comparison.test.items():
        share = counts.num_positive_studies / max(1, counts.num_studies)
        line = [cell(escape(label))]
        line += [
            cell(f"{count:,}", count, kind="number")
            for count in (counts.num_images, counts.num_studies, counts.num_patients, counts.num_positive_studies)
        ]
        lines.append([*line, cell(f"{100 * share:.1f} %", share, kind="number")])
    header = ["label", "images", "studies", "patients", "positive studies", "share"]
    caption = f"Test set: split {comparison.protocol['test_split']} of {comparison.dataset}"
    return table(header, lines, name="test-set", caption=caption)


def label_names(comparison: Comparison) -> list[str]:
    """What can be chosen to look at: the mean over the labels where there are several, then each."""
    return [MACRO, *comparison.labels] if comparison.has_macro else list(comparison.labels)


def start_chip(comparison: Comparison, start: str) -> str:
    """A start's name behind a spot of its colour."""
    ink = start_inks(comparison).get(start)
    variable = start_variable(ink) if ink else "--faint"
    return f'<span class="chip" style="--chip: var({variable})">{escape(start)}</span>'


def _difference(row: Row, level: float) -> list[str]:
    found = row.difference
    if found is None:
        return [cell("", "")] * 3
    verdict = found.verdict(level)
    return [
        _interval(found.auroc, sign="+"),
        cell(p_text(found.p_holm), found.p_holm, kind="number"),
        cell(verdict, verdict, kind=f"verdict {verdict}"),
    ]


def _delong(row: Row) -> str:
    value = row.difference.p_delong if row.difference else None
    return cell("", "") if value is None else cell(p_text(value), value, kind="number")


def _interval(interval: Interval, *, sign: str = "") -> str:
    estimate, limits = interval_text(interval, sign=sign).split(" ", 1)
    return cell(f'{estimate} <span class="limits">{limits}</span>', interval.estimate, kind="number")


def _subgroup(row: SubgroupRow | None, field: str) -> str:
    interval = getattr(row, field) if row else None
    if interval is not None:
        return _interval(interval, sign="+" if field == "difference" else "")
    reason = row.reason if row and row.reason and field == "auroc" else ""
    return cell(f'&ndash; <span class="limits">{escape(reason)}</span>' if reason else "&ndash;", "")
