"""Results as tables: aligned text for terminals, and Markdown."""

from collections.abc import Sequence

from eval.results import FractionResult, ProbeResult
from eval.stats import Interval

_VERDICTS = {1: "better", -1: "worse", 0: "unclear"}


def text_tables(results: Sequence[ProbeResult]) -> str:
    """One aligned table a result, each under a line that says what was tested, and a note on how to read them."""
    blocks = []
    for result in results:
        header, *rows = _cells(result)
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)
        ]
        lines.insert(1, "-" * len(lines[0]))
        blocks.append("\n".join([_title(result), *(line.rstrip() for line in lines)]))
    return "\n\n".join([*blocks, _note(results)])


def markdown_tables(results: Sequence[ProbeResult]) -> str:
    """The same tables in Markdown."""
    blocks = []
    for result in results:
        header, *rows = _cells(result)
        lines = [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]
        blocks.append("\n".join([f"**{_title(result)}**", "", *lines]))
    return "\n\n".join([*blocks, _note(results)])


def verdict(difference: Interval) -> str:
    """``better`` or ``worse`` where the interval of the difference excludes zero, else ``unclear``."""
    return _VERDICTS[int(difference.low > 0) - int(difference.high < 0)]


def _cells(result: ProbeResult) -> list[list[str]]:
    others = [start for start in result.starts if start != result.baseline]
    level = f"[{100 * result.level:g} % CI]"
    header = ["labels", "images (positive)"]
    header += [f"{start} {level}" for start in result.starts]
    for start in others:
        header += [f"difference {level}", f"{start} is"]
    rows = [header]
    for fraction in result.fractions:
        row = [f"{100 * fraction.fraction:g} %", _counts(fraction)]
        row += [_interval(fraction.auroc[start]) for start in result.starts]
        for start in others:
            row += [_interval(fraction.difference[start], sign="+"), verdict(fraction.difference[start])]
        rows.append(row)
    return rows


def _title(result: ProbeResult) -> str:
    test = result.test
    views = "" if result.view == "all" else f", {result.view} views"
    encoders = " and ".join(dict.fromkeys(start.encoder for start in result.starts.values()))
    return (
        f"{result.dataset}, {result.label}: AUROC of the {result.readout} probe on {test.num_studies:,} "
        f"{result.test_split} studies ({test.num_positive_studies:,} positive) of {test.num_patients:,} patients"
        f"{views}; {encoders} of {result.run}"
    )


def _counts(fraction: FractionResult) -> str:
    """Images and positives of the draws: one number if all draws agree, else the mean with a tilde."""
    images = _mean([draw.num_images for draw in fraction.draws])
    positives = _mean([draw.num_positives for draw in fraction.draws])
    mark = "*" if any(draw.is_extended for draw in fraction.draws) else ""
    return f"{images} ({positives}){mark}"


def _mean(counts: list[int]) -> str:
    mean = sum(counts) / len(counts)
    return f"{counts[0]:,}" if len(set(counts)) == 1 else f"~{mean:,.0f}"


def _interval(interval: Interval, *, sign: str = "") -> str:
    estimate, low, high = (_decimal(value, sign) for value in (interval.estimate, interval.low, interval.high))
    return f"{estimate} [{low}, {high}]"


def _decimal(value: float, sign: str) -> str:
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:{sign}.3f}"


def _over_encoders(results: Sequence[ProbeResult]) -> str:
    counts = {name: len(start.hashes) for result in results for name, start in result.starts.items()}
    return "".join(f" and over {count} encoders of {name}" for name, count in counts.items() if count > 1)


def _note(results: Sequence[ProbeResult]) -> str:
    fractions = [fraction for result in results for fraction in result.fractions]
    draws = max(len(fraction.draws) for fraction in fractions)
    replicates = min(result.num_replicates - result.num_dropped for result in results)
    lines = [
        f"Mean over up to {draws} draws of training patients{_over_encoders(results)}. Intervals: {replicates:,} "
        "resamples of test patients, the same for all columns.",
        "They hold the encoders and draws fixed, so they do not speak of another pretraining run.",
        "better, worse: the interval of the paired difference excludes zero; unclear: it does not.",
    ]
    if any(draw.is_extended for fraction in fractions for draw in fraction.draws):
        lines.append("* a draw held under two images of one class and was extended by further patients.")
    return "\n".join(lines)
