"""The headline of a comparison: does this start help, by how much, and is that sure?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eval.readouts.registry import READOUTS
from eval.results.table import Comparison, Row
from eval.words import MACRO, interval_text

Kind = Literal["yes", "no", "mixed", "unclear", "none"]
_WORDS: dict[Kind, str] = {
    "yes": "Yes.",
    "no": "No.",
    "mixed": "It depends.",
    "unclear": "Not shown.",
    "none": "Nothing to compare.",
}


@dataclass(frozen=True, kw_only=True)
class Headline:
    """``word`` and ``sentence`` on the ``start`` that is asked about; ``others`` one line on each further readout and
    start. ``row`` is the one whose figures the sentence gives."""

    kind: Kind
    start: str
    sentence: str
    others: list[str]
    row: Row

    @property
    def word(self) -> str:
        """``Yes.``, ``No.``, ``It depends.``, ``Not shown.``"""
        return _WORDS[self.kind]


def headline(comparison: Comparison) -> Headline:
    """Speaks of the main label, the first readout, and the first start that is a run, or else the first that is
    not the baseline; of its fractions first the smallest that bears it out."""
    start = _start_asked_about(comparison)
    readout = comparison.readouts[0]
    rows = _rows(comparison, readout, start)
    kind = _kind(rows, comparison.level)
    bearing = {"yes": "better", "no": "worse", "mixed": "better"}.get(kind)
    row = next((row for row in rows if bearing and _verdict(row, comparison.level) == bearing), rows[0])
    others = [
        f"{name}, {READOUTS[one].phrase}: {_in_fractions(_rows(comparison, one, name), comparison.level)}."
        for one in comparison.readouts
        for name in comparison.starts
        if (one, name) != (readout, start) and any(row.difference for row in _rows(comparison, one, name))
    ]
    return Headline(kind=kind, start=start, sentence=_sentence(comparison, kind, rows, row), others=others, row=row)


def _start_asked_about(comparison: Comparison) -> str:
    """Of the starts that the first readout has rows of: what reads texts alone has none of an image's readout."""
    measured = [row.start for row in comparison.select(readout=comparison.readouts[0])]
    known = [start for start in comparison.starts if start in measured]
    others = [start for start in known if start != comparison.baseline]
    runs = [start for start in others if comparison.starts[start].is_run]
    return next(iter([*runs, *others, *known]))


def _rows(comparison: Comparison, readout: str, start: str) -> list[Row]:
    rows = comparison.select(readout=readout, label=comparison.main_label, start=start)
    return sorted(rows, key=lambda row: row.fraction)


def _verdict(row: Row, level: float) -> str | None:
    return None if row.difference is None else row.difference.verdict(level)


def _kind(rows: Sequence[Row], level: float) -> Kind:
    verdicts = {_verdict(row, level) for row in rows} - {None}
    if not verdicts:
        return "none"
    if {"better", "worse"} <= verdicts:
        return "mixed"
    return "yes" if "better" in verdicts else "no" if "worse" in verdicts else "unclear"


def _sentence(comparison: Comparison, kind: Kind, rows: Sequence[Row], row: Row) -> str:
    what = f"the mean over {len(comparison.labels)} labels" if row.label == MACRO else row.label
    readout = READOUTS[row.readout].phrase
    found = row.difference
    if found is None:
        return f"There is one start, {row.start}: for {what}, the AUROC of {readout} is {interval_text(row.auroc)}."
    against = next(comparison.select(readout=row.readout, fraction=row.fraction, label=row.label, start=found.against))
    level = f"{100 * comparison.level:g} % CI"
    low, high = (f"{value:+.3f}" for value in (found.auroc.low, found.auroc.high))
    figures = f"{against.auroc.estimate:.3f} to {row.auroc.estimate:.3f}"
    change = f"by {found.auroc.estimate:+.3f} ({level} {low} to {high})"
    start = f"starting from {row.start} instead of {found.against}"
    if kind == "unclear":
        return (
            f"Whether {start} changes the AUROC of {readout} for {what} is not sure at any number of labels; "
            f"{_at(row)} it goes from {figures}, {change}."
        )
    verb = {"yes": "raises", "no": "lowers", "mixed": "changes"}[kind]
    return (
        f"S{start[1:]} {verb} the AUROC of {readout} for {what}: {_in_fractions(rows, comparison.level)}. "
        f"W{_at(row)[1:]} it goes from {figures}, {change}."
    )


def _in_fractions(rows: Sequence[Row], level: float) -> str:
    """``better at 1 % and 10 %; unclear at 100 %``."""
    parts = []
    for verdict in ("better", "worse", "unclear"):
        amounts = [READOUTS[row.readout].amount(row.fraction) for row in rows if _verdict(row, level) == verdict]
        if amounts:
            listed = " and ".join([", ".join(amounts[:-1]), amounts[-1]] if len(amounts) > 1 else amounts)
            parts.append(f"{verdict} {'with' if READOUTS[rows[0].readout].by_shots else 'at'} {listed}")
    return "; ".join(parts)


def _at(row: Row) -> str:
    return (
        f"with {row.fraction:g} images a class"
        if READOUTS[row.readout].by_shots
        else f"with {100 * row.fraction:g} % of the labels"
    )
