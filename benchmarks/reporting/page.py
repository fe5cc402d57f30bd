"""Pages on all results, for readers who were not there: a summary, and a page a result with words, plots and figures.

    python -m benchmarks report --results benchmarks/results --output docs     # docs/benchmarks.md, docs/benchmarks/

They are made of the files alone, so that they say again what those say when one is measured anew.
"""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring.result import Comparison, Result, read_result
from benchmarks.reporting.compare import changes
from benchmarks.reporting.plots import MAX_SERIES, format_rate, format_speed, plot_grid, plot_variants
from benchmarks.reporting.words import Group, describe, find_step, group_comparisons, limits_reached, summary
from shards.base.atomic import atomic_write
from shards.base.errors import InputError

_ORDER = ("hotpath", "step", "loader", "packing", "index", "peers", "scaling", "evaluation", "waiting", "multimodal")
_ABOUT = {
    "hotpath": "The hot path: momentum update, queue and loss",
    "step": "The pretraining step",
    "loader": "From packed shards to views on the device",
    "packing": "Packing",
    "index": "The index",
    "peers": "What others have",
    "scaling": "Ranks and nodes",
    "evaluation": "Probes and statistics",
    "waiting": "Threads that wait",
    "multimodal": "The multimodal classifier",
}
_AGAIN = "again"
_SHOWN = ("step", "loader", "packing")  # benchmarks whose first plot is in the summary, as they are of whole stages
_GRID = 3  # comparisons from which they share a plot
_INTRODUCTION = """# Benchmarks

Made by `moco-cxr benchmarks report` of the files in `{results}`; `moco-cxr benchmarks all` measures your machine.
Words, plots and all figures of each: the pages in the first column.

How to read it: variants of one thing took turns in one run (A B C A B C ...), after a warm-up, with the device
synchronised at both ends of what is timed; each was first checked to compute the same. What counts is how many times as
fast as the first variant, the reference, each is, as machines drift: 2x is half its time, above 1 is faster. It is the
median of each turn's ratio, not the ratio of the medians. Bands in the plots and "quartiles" are the middle half of the
turns. In plots a square is the reference, a blue disc what is faster, an orange triangle what is slower (also: in the
shaded part), a hollow gray disc a limit, which does only a part of the work. Scales are logarithmic.
"""


def write_report(results: Path, output: Path) -> Path:
    """Writes ``benchmarks.md`` to ``output``, a page a result and plots to its folder ``benchmarks``, and returns the
    path of the first.

    Pages and plots that an earlier report left there are removed. A second run of a benchmark, in the folder ``again``
    of ``results`` under the same name, is not shown, but says how far two runs differ.

    Raises:
        InputError: no results are there, one is not a result, or matplotlib is not installed.
    """
    paths = sorted(results.glob("*.json"), key=lambda path: (_rank(path), path.name))
    if not paths:
        raise InputError(_nothing(results))
    found = {path: read_result(path) for path in paths}
    folder = output / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.svg"), *folder.glob("*.md")]:
        old.unlink()
    lines = [_INTRODUCTION.format(results=os.path.relpath(results, output.parent)), *_in_short(found)]
    for path, result in found.items():
        of_result = list(_page(path, result, folder))
        atomic_write(folder / f"{path.stem}.md", "\n".join(of_result).rstrip() + "\n")
        if result.benchmark in _SHOWN:
            pictures = (line for line in of_result if line.startswith("!["))
            lines += [picture.replace("](", "](benchmarks/") for picture in itertools.islice(pictures, 1)]
    page = output / "benchmarks.md"
    atomic_write(page, "\n".join(lines).rstrip() + "\n")
    return page


def _nothing(results: Path) -> str:
    quick = results / "quick"
    if any(quick.glob("*.json")):
        return f"--results {results}: only results of quick forms are there; name their folder, --results {quick}"
    return f"--results {results}: no result files (*.json); run a benchmark first, or name their folder"


def _rank(path: Path) -> int:
    name = path.stem.partition("-")[0]
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _in_short(found: dict[Path, Result]) -> Iterator[str]:
    yield "## In short\n"
    yield "| measured | of it | fastest | times as fast as | slower than that |"
    yield "|---|---|---|---|---|"
    for path, result in found.items():
        page = f"[{_about(path, result)}](benchmarks/{path.stem}.md)"
        rivals = [
            summary(group)
            for group in group_comparisons(result.comparisons)
            if group.are_rivals and len(group.comparisons[0].timings) > 1
        ]
        for number, words in enumerate(rivals or [("figures", "", "", "")]):
            yield f"| {'' if number else page} | {' | '.join(map(_cell, words))} |"
    yield ""


def _about(path: Path, result: Result) -> str:
    device = path.stem.partition("-")[2]
    return f"{_ABOUT.get(result.benchmark, result.benchmark)}{f' ({device})' if device else ''}"


def _page(path: Path, result: Result, folder: Path) -> Iterator[str]:
    yield f"# {_about(path, result)}\n"
    yield f"{_plain(_describe_machine(result))} File: [{path.name}]({os.path.relpath(path, folder)}). [In short and how"
    yield "to read it](../benchmarks.md).\n"
    yield from (f"- {_plain(remark)}" for remark in [*result.remarks, *_agreement(path, result)])
    yield ""
    step = find_step(result.comparisons)
    for number, group in enumerate(group_comparisons(result.comparisons)):
        yield f"## {_plain(group.title)}\n"
        for sentence in [*describe(group, step), *limits_reached(group)]:
            yield f"- {_plain(sentence)}"
        yield ""
        for caption, name in _draw(group, folder, f"{path.stem}-{number + 1}-{_slug(group.title)}"):
            yield f"![{_plain(caption)}]({name})\n"
        yield from _figures(group)


def _describe_machine(result: Result) -> str:
    machine = result.machine
    versions = machine.get("versions", {})
    commit = machine.get("commit")
    where = f"On {machine.get('gpu') or 'no GPU'}, {machine.get('cpu')}, {machine.get('cores')} cores"
    words = [f"{where}, {machine.get('torch_threads')} threads", f"torch {versions.get('torch')}"]
    words += [f"{name}={value}" for name, value in machine.get("environment", {}).items()]
    if commit:
        hash_, _, changed = commit.partition("+")
        words.append(f"commit {hash_[:10]}{' with changes that are not in it' if changed else ''}")
    return f"{', '.join(words)}, {str(machine.get('utc', ''))[:10]}."


def _agreement(path: Path, result: Result) -> Iterator[str]:
    """How far a second run of the same is from this one."""
    again = path.parent / _AGAIN / path.name
    if not again.is_file():
        return
    found = list(changes(result, read_result(again)))
    if not found:
        return
    agreeing = sum(change.is_within_spread for change in found)
    most = max(found, key=lambda change: abs(change.share))
    yield (
        f"A second run: {agreeing} of {len(found)} speeds agree within their spreads; the largest difference is "
        f"{most.share:+.0%} ({most.variant}, {most.title})."
    )


def _draw(group: Group, plots: Path, name: str) -> Iterator[tuple[str, str]]:
    """Draws a group as one grid, or each of its comparisons by itself; gives captions and file names."""
    comparisons = group.comparisons
    series = {variant for comparison in comparisons for variant in comparison.timings}
    if len(series) == 1 or comparisons[0].are_parts:
        return
    if len(comparisons) >= _GRID and len(series) <= MAX_SERIES:
        labels = [comparison.title.partition(", ")[2] or comparison.title for comparison in comparisons]
        plot_grid(comparisons, labels, plots / f"{name}.svg")
        yield f"{group.title}: times as fast as {group.reference}, by setting", f"{name}.svg"
        return
    for number, comparison in enumerate(comparisons):
        file = f"{name}.svg" if len(comparisons) == 1 else f"{name}-{number + 1}.svg"
        plot_variants(comparison, plots / file, limits=group.limits)
        yield f"{comparison.title}: times as fast as {group.reference}", file


def _figures(group: Group) -> Iterator[str]:
    """Tables; folded away where there are several."""
    is_long = len(group.comparisons) >= _GRID
    if is_long:
        yield "<details><summary>All figures</summary>\n"
    for comparison in group.comparisons:
        if len(group.comparisons) > 1:
            yield f"**{_plain(comparison.title)}**\n"
        yield f"{_plain(comparison.work[:1].upper() + comparison.work[1:])}.\n"
        yield from _table(comparison)
        yield ""
        yield from (f"- {_plain(remark)}" for remark in comparison.remarks)
        yield ""
    if is_long:
        yield "</details>\n"


def _table(comparison: Comparison) -> Iterator[str]:
    timings = comparison.timings
    columns: dict[str, dict[str, str]] = {"ms": {name: format_rate(1e3 * t.median) for name, t in timings.items()}}
    if comparison.has_spread:
        columns["quartiles"] = {
            name: f"{format_rate(1e3 * t.low_quartile)}-{format_rate(1e3 * t.high_quartile)}"
            for name, t in timings.items()
        }
    if comparison.are_parts:
        columns["of the step"] = {name: f"{comparison.share(name):.1%}" for name in timings}
    else:
        columns[f"{comparison.unit}/s"] = {name: format_rate(comparison.rate / t.median) for name, t in timings.items()}
        columns["times as fast"] = {name: format_speed(t.speed) for name, t in timings.items()}
    if comparison.limit:
        columns["of the limit"] = {name: comparison.share_of_limit(name) for name in timings}
    if comparison.flops is not None:
        columns["GFLOP/s"] = {name: f"{comparison.flops / t.median / 1e9:,.1f}" for name, t in timings.items()}
    if comparison.memory is not None:
        columns["peak MB"] = {name: f"{size / 2**20:,.1f}" for name, size in comparison.memory.items()}
    if any(t.cpu_seconds is not None for t in timings.values()):
        title = f"CPU s per 1,000 {comparison.unit}"
        taken = {name: t.cpu_seconds for name, t in timings.items() if t.cpu_seconds is not None}
        columns[title] = {name: f"{1e3 * seconds / comparison.rate:.2f}" for name, seconds in taken.items()}
    if comparison.resources is not None:
        used = comparison.resources
        columns["waits"] = {name: f"{one.wait_share:.0%}" for name, one in used.items()}
        columns["memory, MB"] = {name: f"{one.peak_megabytes:,.0f}" for name, one in used.items()}
        columns["first batch, ms"] = {name: f"{1e3 * one.first_batch_seconds:,.0f}" for name, one in used.items()}
    yield f"| variant | {' | '.join(columns)} |"
    yield f"|---|{'---:|' * len(columns)}"
    for name in timings:
        yield f"| {_cell(name)} | {' | '.join(column.get(name, '') for column in columns.values())} |"


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-")


def _plain(text: str) -> str:
    """Without what Markdown would take for emphasis, as in ``_foreach_lerp_``."""
    return re.sub(r"([_*])", r"\\\1", text)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
