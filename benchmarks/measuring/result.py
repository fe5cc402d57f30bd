"""A benchmark result: one JSON file with where and how it was measured, and one table; written and read here."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from benchmarks.measuring.resources import Resources
from shards.base.atomic import atomic_write
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from shards.base.stored import read_json

_Positive = Annotated[float, Field(gt=0)]  # drawn to a logarithmic scale, and divided by


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one call: median and quartiles over the turns; ``speed`` is how many times as fast as the first
    variant this one is, above 1 being faster: the median over turns of the first one's time divided by this one's in
    the same turn, with its quartiles; ``cpu_seconds``, where a clock for it was given, is the median of the processor
    time."""

    median: _Positive
    low_quartile: _Positive
    high_quartile: _Positive
    speed: _Positive
    turns: int
    cpu_seconds: float | None = None
    speed_low_quartile: _Positive | None = None
    speed_high_quartile: _Positive | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Variants of one thing, timed side by side; ``work`` is what one call does, ``rate`` its amount in ``unit``, and
    ``remarks`` are sentences on what the figures come to. ``limit`` names the variant that none can be faster than,
    ``resources`` says what variants take beside time, and ``are_rivals`` is false where variants are not ways of doing
    the same, but sizes or parts of it, so that the fastest is not the best. ``memory`` is the peak of bytes that one
    call of a variant allocates, by variant, and ``flops`` the floating point operations of one call of any of them."""

    title: str
    work: str
    rate: float
    unit: str
    timings: Mapping[str, Timing]
    remarks: tuple[str, ...] = ()
    limit: str | None = None
    resources: Mapping[str, Resources] | None = None
    are_rivals: bool = True
    memory: Mapping[str, int] | None = None
    flops: float | None = None

    def table(self) -> str:
        """One line a variant, at most 120 columns: milliseconds, rate, times as fast as the first variant, and where
        known operations a second and peak memory; or, where resources were measured, rates and resources."""
        if self.resources is not None:
            return self._resource_table(self.resources)
        head = f"{self.title}: {self.work}"
        width = max(28, *(len(name) + 1 for name in self.timings))
        names = f"  {'variant':<{width}}{'ms':>10}{'quartiles':>18}{self.unit + '/s':>16}{'x as fast':>12}"
        names += f"{'GFLOP/s':>9}" if self.flops else ""
        names += f"{'peak MB':>9}" if self.memory else ""
        lines = []
        for name, t in self.timings.items():
            line = f"  {name:<{width}}{1e3 * t.median:>10.3f}{1e3 * t.low_quartile:>9.3f}-{1e3 * t.high_quartile:<8.3f}"
            line += f"{self.rate / t.median:>16,.4g}{t.speed:>12.3f}"
            line += f"{self.flops / t.median / 1e9:>9,.1f}" if self.flops else ""
            line += f"{self.memory[name] / 2**20:>9,.1f}" if self.memory and name in self.memory else ""
            lines.append(line)
        return "\n".join([head, names, *lines, *self._remark_lines()])

    def speedup(self, name: str, other: str) -> float:
        """How many times as fast as ``other`` a variant is."""
        return self.timings[other].median / self.timings[name].median

    def _resource_table(self, resources: Mapping[str, Resources]) -> str:
        names = (
            f"  {'variant':<38}{self.unit + '/s':>10}{'quartiles':>16}{'x as fast':>10}{'of limit':>9}"
            f"{'CPU s/1,000':>12}{'waits':>7}{'MB':>7}{'1st ms':>8}"
        )
        lines = []
        for name, t in self.timings.items():
            share = f"{self.speedup(name, self.limit):.0%}" if self.limit else ""
            cpu = "" if t.cpu_seconds is None else f"{1e3 * t.cpu_seconds / self.rate:.2f}"
            quartiles = f"{self.rate / t.high_quartile:,.0f}-{self.rate / t.low_quartile:,.0f}"
            line = f"  {name:<38}{self.rate / t.median:>10,.0f}{quartiles:>16}{t.speed:>10.2f}"
            line += f"{share:>9}{cpu:>12}"
            if (used := resources.get(name)) is not None:
                line += f"{used.wait_share:>7.0%}{used.peak_megabytes:>7,.0f}{1e3 * used.first_batch_seconds:>8,.0f}"
            lines.append(line)
        return "\n".join([self.title, f"  {self.work}", names, *lines, *self._remark_lines()])

    def _remark_lines(self) -> list[str]:
        return [textwrap.fill(remark, 120, initial_indent="  ", subsequent_indent="    ") for remark in self.remarks]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one file holds: comparisons of one benchmark, remarks on all of it, and the machine in words; ``figures``
    are numbers and findings by name that are no comparison."""

    benchmark: str
    machine: Mapping[str, Any]
    comparisons: tuple[Comparison, ...]
    remarks: tuple[str, ...] = ()
    figures: Mapping[str, Any] | None = None


def write_as_it_comes(
    path: Path, name: str, machine: Mapping[str, Any], parts: Iterable[Comparison | str]
) -> Iterator[Comparison | str]:
    """Passes comparisons and remarks on, each when the file holds it: what comes later may fail, or be stopped."""
    comparisons: list[Comparison] = []
    remarks: list[str] = []
    for part in parts:
        if isinstance(part, str):
            remarks.append(part)
        else:
            comparisons.append(part)
        write_result(path, name, machine, comparisons, remarks=remarks)
        yield part


def write_result(
    path: Path,
    name: str,
    machine: Mapping[str, Any],
    comparisons: Sequence[Comparison],
    *,
    remarks: Sequence[str] = (),
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Writes the comparisons of one benchmark, and remarks and figures of all of it, with the machine they were
    measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "benchmark": name,
        "machine": machine,
        "comparisons": [asdict(c, dict_factory=_present) for c in comparisons],
    }
    result |= {"remarks": list(remarks)} if remarks else {}
    result |= {"figures": figures} if figures is not None else {}
    atomic_write(path, json.dumps(result, indent=2) + "\n")


def read_result(path: Path) -> Result:
    """Reads what :func:`write_result` wrote.

    Raises:
        InputError: no such file, or not a benchmark result; the message names the part that is wrong.
    """
    try:
        raw = read_json(path)
    except InputError as error:
        raise InputError(f"{path}: {error}; name a file that a benchmark wrote") from None
    try:
        result = from_written(Result, raw, unknown="ignore")  # such as fields of a later version
        from_written(_Place, {"machine": result.machine}, unknown="ignore")
        for one in result.comparisons:
            if not one.timings:
                raise InputError(f"{one.title}: no timings")
    except InputError as error:
        raise InputError(f"{path}: not a benchmark result, {error}; run the benchmark again") from None
    return result


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """What pages say of a machine, as :func:`benchmarks.measuring.machine.describe_machine` writes it."""

    utc: str = ""
    commit: str | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)
    cpu: str | None = None
    cores: int | None = None
    torch_threads: int | None = None
    gpu: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Of a result: where it was measured."""

    machine: _Machine


def _present(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Fields that were measured."""
    return {name: value for name, value in fields if value is not None}
