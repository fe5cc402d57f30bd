"""Plots of comparisons: how many times as fast as the first variant each is, with the spread over the turns.

Dark marks on an opaque light ground, so that they show on pages of any colour; shapes tell apart what colours do.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring.result import Comparison
from benchmarks.reporting.compare import spread
from shards.base.atomic import atomic_file
from shards.base.errors import InputError

_GROUND, _INK, _GRAY = "#fbfbf8", "#222222", "#777777"
_FASTER, _SLOWER = "#0072b2", "#d55e00"
# Of Okabe and Ito, whose colours the colour-blind tell apart; its yellow is too light for this ground.
_STYLES = (
    ("#222222", "s"),
    ("#0072b2", "o"),
    ("#d55e00", "^"),
    ("#009e73", "D"),
    ("#cc79a7", "v"),
    ("#e69f00", "P"),
    ("#56b4e9", "X"),
    ("#777777", "<"),
    ("#7a4d00", ">"),
    ("#5b3a8c", "*"),
)
MAX_SERIES = len(_STYLES)
_RC = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "svg.hashsalt": "moco-cxr",  # the same figures give the same file
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRAY,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_WIDTH = 8.4  # inches


def plot_variants(comparison: Comparison, path: Path, *, limits: frozenset[str] = frozenset()) -> None:
    """One row a variant of one comparison; ``limits`` are drawn hollow, as what variants can at best come to."""
    matplotlib = _matplotlib()
    names = list(comparison.timings)
    with matplotlib.rc_context(_RC):
        figure, axes = _axes(matplotlib, rows=len(names), longest=max(map(len, names)), right=1.75)
        reached = [_reach(comparison, name) for name in names]
        _scale(axes, reached, reference=names[0])
        for row, name in enumerate(names):
            low, speed, high = reached[row]
            colour, marker = _mark(speed, is_first=row == 0)
            hollow = {"markerfacecolor": _GROUND} if name in limits else {}
            colour = _GRAY if name in limits else colour
            axes.plot([1.0, speed], [row, row], color=colour, linewidth=1.0, alpha=0.45, zorder=1)
            axes.plot([low, high], [row, row], color=colour, linewidth=4.0, alpha=0.35, solid_capstyle="butt", zorder=2)
            axes.plot([speed], [row], marker, color=colour, markersize=6.5, markeredgewidth=1.4, zorder=3, **hollow)
            rate = comparison.rate / comparison.timings[name].median
            words = f"{format_speed(speed)}x   {format_rate(rate)} {comparison.unit}/s"
            axes.text(1.02, row, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
        _rows(axes, names)
        _save(figure, path)


def plot_grid(comparisons: Sequence[Comparison], labels: Sequence[str], path: Path) -> None:
    """One row a comparison, one mark a variant: the same variants over a grid of settings."""
    matplotlib = _matplotlib()
    names = list(dict.fromkeys(name for comparison in comparisons for name in comparison.timings))
    with matplotlib.rc_context(_RC):
        figure, axes = _axes(matplotlib, rows=len(labels), longest=max(map(len, labels)), right=0.3, legend=len(names))
        reached = [[_reach(one, name) for name in one.timings] for one in comparisons]
        _scale(axes, [bounds for row in reached for bounds in row], reference=names[0])
        handles: list[Any] = []
        step = min(0.12, 0.7 / len(names))  # so that marks at the same place do not hide one another
        for number, name in enumerate(names):
            colour, marker = _STYLES[number]
            offset = (number - (len(names) - 1) / 2) * step
            found = [(row, _reach(one, name)) for row, one in enumerate(comparisons) if name in one.timings]
            for row, (low, _, high) in found:
                axes.plot([low, high], [row + offset] * 2, color=colour, linewidth=2.0, alpha=0.45, zorder=2)
            speeds, rows = [bounds[1] for _, bounds in found], [row + offset for row, _ in found]
            handles += axes.plot(speeds, rows, marker, color=colour, markersize=5.5, zorder=3)
        _rows(axes, labels)
        # With their labels, as names that begin with an underscore are left out of a legend that looks for its own.
        figure.legend(handles, names, loc="upper left", bbox_to_anchor=(0.01, 0.995), ncols=2, frameon=False)
        _save(figure, path)


def format_speed(speed: float) -> str:
    """Three digits at most: 0.45, 2.31, 10.1, 922."""
    return f"{speed:.0f}" if speed >= 99.5 else f"{speed:.1f}" if speed >= 9.95 else f"{speed:.2f}"


def format_rate(rate: float) -> str:
    """Three digits at least, and all before the point: 0.368, 12.0, 922, 8,058."""
    return f"{rate:,.0f}" if rate >= 99.95 else f"{rate:#.3g}"


def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.figure
    except ModuleNotFoundError:
        raise InputError("report: matplotlib is not installed, which draws its plots; pip install matplotlib") from None
    return matplotlib


def _reach(comparison: Comparison, name: str) -> tuple[float, float, float]:
    """Low quartile, median and high quartile of how many times as fast as the first variant one is."""
    timing = comparison.timings[name]
    low, high = spread(timing)
    return low, timing.speed, high


def _mark(speed: float, *, is_first: bool) -> tuple[str, str]:
    if is_first:
        return _INK, "s"
    return (_FASTER, "o") if speed >= 1 else (_SLOWER, "^")


def _axes(matplotlib: Any, *, rows: int, longest: int, right: float, legend: int = 0) -> tuple[Any, Any]:
    """Axes with room for names to the left, ``right`` inches of figures, and a legend of so many names on top."""
    top, bottom = 0.15 + 0.22 * math.ceil(legend / 2), 0.55
    height = 0.34 * rows * (1.35 if legend else 1.0) + top + bottom
    left = min(3.6, 0.35 + 0.078 * longest)
    figure = matplotlib.figure.Figure(figsize=(_WIDTH, height), facecolor=_GROUND)
    share = (left / _WIDTH, bottom / height, (_WIDTH - left - right) / _WIDTH, (height - top - bottom) / height)
    return figure, figure.add_axes(share, facecolor=_GROUND)


def _scale(axes: Any, reached: Sequence[tuple[float, float, float]], *, reference: str) -> None:
    lowest = min(0.85, *(low for low, _, _ in reached)) / 1.12
    highest = max(1.15, *(high for _, _, high in reached)) * 1.12
    axes.set_xscale("log")
    axes.set_xlim(lowest, highest)
    ticks = list(_ticks(lowest, highest))
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.axvspan(lowest, 1.0, color=_SLOWER, alpha=0.06, linewidth=0)
    axes.axvline(1.0, color=_INK, linewidth=1.0)
    axes.grid(axis="x", color=_GRAY, alpha=0.25, linewidth=0.6)
    axes.set_xlabel(f"times as fast as: {reference}")


def _ticks(lowest: float, highest: float) -> Iterator[float]:
    """Round figures between two, some three to eight of them, always with 1."""
    decades = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    span = highest / lowest
    if span > 1000:
        steps: tuple[float, ...] = (1,)
    elif span > 12:
        steps = (1, 2, 5)
    elif span > 3:
        steps = (1, 1.5, 2, 3, 5, 7)
    else:
        steps = (1, 1.1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    yield from (step * 10.0**decade for decade in decades for step in steps if lowest < step * 10.0**decade < highest)


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    with atomic_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], facecolor=_GROUND, metadata=metadata, dpi=110)
