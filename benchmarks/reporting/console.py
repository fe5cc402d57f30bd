"""A comparison as text for a terminal of 80 columns."""

from collections.abc import Callable, Iterator

from benchmarks.measuring.columns import tabulate
from benchmarks.measuring.result import Comparison, Timing
from benchmarks.reporting.plots import format_rate
from eval.report.terminal import wrapped

_PAIRED = "median of each turn's ratio, not the ratio of the medians"


def text_table(comparison: Comparison) -> str:
    """Title and work, one row a variant, resources where they were measured, and remarks; at most 80 columns.

    Times are in milliseconds, or, beside resources, rates."""
    lines = [wrapped(comparison.title), wrapped(comparison.work, first="  ", later="  ")]
    lines += tabulate(*_rows(comparison))
    if comparison.resources:
        lines += tabulate(*_resource_rows(comparison))
    lines += [wrapped(remark, first="  ", later="    ") for remark in [*_paired(comparison), *comparison.remarks]]
    return "\n".join(lines)


def _paired(comparison: Comparison) -> Iterator[str]:
    if len(comparison.timings) > 1 and comparison.has_spread:
        yield f"{'of the step' if comparison.are_parts else 'times as fast'}: {_PAIRED}"


def _rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    timings = comparison.timings
    columns = _times(comparison) if comparison.resources is None else _rates(comparison)
    if comparison.are_parts:
        columns["of the\nstep"] = lambda name: f"{comparison.share(name):.1%}"
    else:
        columns["times\nas fast"] = lambda name: format_rate(timings[name].speed)
    if comparison.limit is not None:
        columns["of the\nlimit"] = comparison.share_of_limit
    if any(timing.cpu_seconds is not None for timing in timings.values()):
        columns["CPU s\nper 1,000"] = lambda name: _cpu(timings[name], comparison.rate)
    if comparison.flops is not None:
        flops = comparison.flops
        columns["GFLOP/s"] = lambda name: format_rate(flops / timings[name].median / 1e9)
    if comparison.memory is not None:
        memory = comparison.memory
        columns["peak\nMB"] = lambda name: format_rate(memory[name] / 2**20) if name in memory else ""
    return ["variant", *columns], [[name, *(cell(name) for cell in columns.values())] for name in timings]


def _times(comparison: Comparison) -> dict[str, Callable[[str], str]]:
    timings = comparison.timings
    columns: dict[str, Callable[[str], str]] = {"ms": lambda name: format_rate(1e3 * timings[name].median)}
    if comparison.has_spread:
        columns["quartiles"] = lambda name: _range(1e3 * timings[name].low_quartile, 1e3 * timings[name].high_quartile)
    if not comparison.are_parts:
        columns[f"{comparison.unit}/s"] = lambda name: format_rate(comparison.rate / timings[name].median)
    return columns


def _rates(comparison: Comparison) -> dict[str, Callable[[str], str]]:
    rate, timings = comparison.rate, comparison.timings
    columns: dict[str, Callable[[str], str]] = {
        f"{comparison.unit}/s": lambda name: format_rate(rate / timings[name].median)
    }
    if comparison.has_spread:
        columns["quartiles"] = lambda name: _range(
            rate / timings[name].high_quartile, rate / timings[name].low_quartile
        )
    return columns


def _range(low: float, high: float) -> str:
    return f"{format_rate(low)}-{format_rate(high)}"


def _cpu(timing: Timing, rate: float) -> str:
    return "" if timing.cpu_seconds is None else format_rate(1e3 * timing.cpu_seconds / rate)


def _resource_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    used = comparison.resources or {}
    rows = [
        [name, f"{one.wait_share:.0%}", f"{one.peak_megabytes:,.0f}", f"{1e3 * one.first_batch_seconds:,.0f}"]
        for name, one in used.items()
    ]
    return ["in a process of its own", "waits", "memory, MB", "first batch, ms"], rows
