"""The report's figures as SVG, each drawn once: as a file on white paper, and inline in the page's own colours.

Text stays text, so figures can be searched and restyled. :func:`themed` replaces the colours by the page's variables,
which have a light and a dark value (``page.css``).

Legend: N points.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from eval.readouts.registry import READOUTS
from eval.results.roc import Roc
from eval.results.table import Comparison, Row

Floats = npt.NDArray[np.floating]

# Each colour is a variable of page.css with this as its light value; no two are equal, or one would become the other.
INK, FAINT, GRID, PAPER = "#1c2430", "#5a6472", "#dce1e8", "#fffffe"
PRESENT, ABSENT = "#c2410b", "#94a3b7"
_BASELINE = "#6b7281"
_STARTS = ("#2563ea", "#d97707", "#0f9d77", "#b4368e", "#7c5cfd", "#0891b1", "#be123d")
_MARKERS = "so^Dvp*X"
_VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    GRID: "--grid",
    PAPER: "--paper",
    PRESENT: "--present",
    ABSENT: "--absent",
    _BASELINE: "--start-0",
} | {color: f"--start-{number}" for number, color in enumerate(_STARTS, 1)}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}
_SIZE = (4.6, 3.4)  # inches; narrow, so that its text can be read at a phone's width


@dataclass(frozen=True)
class Ink:
    """How a start is drawn: colour and marker, so that neither print nor eye needs the colour."""

    color: str
    marker: str


def start_inks(comparison: Comparison) -> dict[str, Ink]:
    """The baseline in gray, the other starts in colours, the same in all figures. Colours repeat after seven."""
    others = [start for start in comparison.starts if start != comparison.baseline]
    inks = {comparison.baseline: Ink(_BASELINE, _MARKERS[0])}
    for number, start in enumerate(others):
        inks[start] = Ink(_STARTS[number % len(_STARTS)], _MARKERS[1 + number % (len(_MARKERS) - 1)])
    return inks


def start_variable(ink: Ink) -> str:
    """The page's variable for a start's colour."""
    return _VARIABLES[ink.color]


def fraction_figure(comparison: Comparison, readout: str, label: str) -> str:
    """AUROC against the label fraction, a line for each start, with its interval as a band."""
    with _style(f"fraction {readout} {label}"):
        figure, axes = _axes(READOUTS[readout].heading)
        for start, ink in start_inks(comparison).items():
            rows = sorted(comparison.select(readout=readout, label=label, start=start), key=lambda row: row.fraction)
            if not rows:
                continue
            x = [row.fraction for row in rows]
            estimate, low, high = _limits(rows)
            axes.plot(x, estimate, color=ink.color, marker=ink.marker, label=start)
            if len(x) > 1:
                axes.fill_between(x, low, high, color=ink.color, alpha=0.16, linewidth=0)
            else:
                axes.vlines(x, low, high, color=ink.color)
        _fraction_axis(axes, readout, comparison.fractions(readout))
        axes.set_ylabel(f"AUROC, {100 * comparison.level:g} % interval")
        _legend_below(figure, axes)
        return _svg(figure)


def difference_figure(comparison: Comparison, readout: str, label: str) -> str:
    """Differences to the baseline with their intervals; filled where sure after Holm's correction, else hollow."""
    with _style(f"difference {readout} {label}"):
        figure, axes = _axes(f"{READOUTS[readout].heading}: minus {comparison.baseline}")
        fractions = comparison.fractions(readout)
        starts = [(start, ink) for start, ink in start_inks(comparison).items() if start != comparison.baseline]
        step = min(0.16, 0.7 / max(1, len(starts)))
        axes.axhline(0, color=FAINT, linewidth=1)
        for number, (start, ink) in enumerate(starts):
            is_named = False
            for row in comparison.select(readout=readout, label=label, start=start):
                if row.difference is None:
                    continue
                x = fractions.index(row.fraction) + step * (number - (len(starts) - 1) / 2)
                found = row.difference
                is_sure = found.verdict(comparison.level) != "unclear"
                axes.vlines(x, found.auroc.low, found.auroc.high, color=ink.color)
                axes.plot(
                    x,
                    found.auroc.estimate,
                    linestyle="none",
                    marker=ink.marker,
                    color=ink.color,
                    markersize=7,
                    markerfacecolor=ink.color if is_sure else PAPER,
                    label=None if is_named else start,
                )
                is_named = True
        axes.set_xticks(range(len(fractions)), [READOUTS[readout].amount(fraction) for fraction in fractions])
        axes.set_xlim(-0.5, len(fractions) - 0.5)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(_fraction_words(readout))
        axes.set_ylabel("difference of AUROC")
        _legend_below(figure, axes)
        return _svg(figure)


def roc_figure(curves: Mapping[str, Roc], inks: Mapping[str, Ink], *, title: str) -> str:
    """ROC curves of the starts, each the mean over its draws and encoders."""
    with _style(f"roc {title}"):
        figure, axes = _axes(title, size=(4.6, 4.4))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        for start, curve in curves.items():
            axes.plot(curve.false_positives, curve.true_positives, color=inks[start].color, label=start)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set_xlabel("1 - specificity")
        axes.set_ylabel("sensitivity")
        _legend_below(figure, axes)
        return _svg(figure)


def calibration_figure(rows: Sequence[Row], inks: Mapping[str, Ink], *, title: str) -> str:
    """Positive share against predicted probability by bin, on the diagonal where probabilities are true."""
    with _style(f"calibration {title}"):
        figure, axes = _axes(title, size=(4.6, 4.4))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        for row in rows:
            if not row.reliability:
                continue
            counts = np.array([one.num_studies for one in row.reliability])
            x = [one.mean_probability for one in row.reliability]
            y = [one.positive_share for one in row.reliability]
            ink = inks[row.start]
            axes.plot(x, y, color=ink.color, linewidth=1.2, label=f"{row.start}, ECE {row.ece.estimate:.3f}")
            axes.scatter(x, y, s=10 + 90 * counts / counts.max(), color=ink.color, marker=ink.marker, alpha=0.75)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("share that is positive")
        _legend_below(figure, axes)
        return _svg(figure)


def map_figure(points: Floats, labels: Floats, *, title: str, label: str) -> str:
    """A map (N, 2) of an embedding, its points by label: 1, 0, or NaN where unknown."""
    with _style(f"map {title} {label}"):
        figure, axes = _axes(title, size=(4.6, 4.6))
        groups = (
            (np.isnan(labels), f"{label} unknown", GRID, ".", 3.0),
            (labels == 0, f"no {label}", ABSENT, "o", 3.0),
            (labels == 1, label, PRESENT, "^", 4.5),
        )
        for chosen, name, color, marker, size in groups:
            if chosen.any():
                shown: dict[str, Any] = {"color": color, "marker": marker, "markersize": size, "markeredgewidth": 0}
                axes.plot(*points[chosen].T, linestyle="none", alpha=0.8, label=f"{name} ({chosen.sum():,})", **shown)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.margins(0.02)
        _legend_below(figure, axes)
        return _svg(figure)


def themed(svg: str, name: str, *, description: str) -> str:
    """A figure for the page: its colours are variables, its ids begin with ``name``, and readers are told what it is.

    Args:
        name: another for each figure of the page, as ids must be.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda found: _variable(found[0]), svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = svg.replace("'DejaVu Sans'", "var(--font)")
    svg = re.sub(r' width="[^"]+pt" height="[^"]+pt"', "", svg, count=1)
    escaped = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escaped}" ', 1)


def _style(salt: str) -> Any:
    """A context in which figures look alike, and their ids depend on the salt alone."""
    settings: Any = _STYLE | {"svg.hashsalt": salt}
    return mpl.rc_context(settings)


def _variable(color: str) -> str:
    return f"var({_VARIABLES[color]})" if color in _VARIABLES else color


def _axes(title: str, *, size: tuple[float, float] = _SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def _fraction_axis(axes: Axes, readout: str, fractions: list[float]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(fractions))
    axes.set_xticks(fractions, [f"{f:g}" if READOUTS[readout].by_shots else f"{100 * f:g} %" for f in fractions])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    if len(fractions) == 1:
        axes.set_xlim(fractions[0] / 3, fractions[0] * 3)
    axes.set_xlabel(_fraction_words(readout))


def _fraction_words(readout: str) -> str:
    return "labelled images a class" if READOUTS[readout].by_shots else "share of the training labels"


def _limits(rows: Sequence[Row]) -> tuple[Floats, Floats, Floats]:
    values = np.array([[row.auroc.estimate, row.auroc.low, row.auroc.high] for row in rows], dtype=float)
    return values[:, 0], values[:, 1], values[:, 2]


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    if handles:
        width = max(map(len, names))
        columns = 1 if width > 26 else 2 if width > 14 else 3
        figure.legend(handles, names, loc="outside lower left", ncols=min(columns, len(names)), handlelength=1.6)


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})  # the same bytes for the same results
    return file.getvalue()
