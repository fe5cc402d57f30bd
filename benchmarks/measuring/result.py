"""A benchmark result: one JSON file with where and how it was measured, and one table; written and read here."""

import json
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

LIMIT = "limit:"  # what names begin with of variants that do only a part of the work
SHARE = "share of a step"  # what titles begin with where variants are parts of the first one
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

    @property
    def are_parts(self) -> bool:
        """Whether variants are parts of the first one, so that what counts is their share of it."""
        return self.title.startswith(SHARE)

    @property
    def has_spread(self) -> bool:
        """Whether any variant was timed more than once, without which quartiles say nothing."""
        return any(timing.turns > 1 for timing in self.timings.values())

    def speedup(self, name: str, other: str) -> float:
        """How many times as fast as ``other`` a variant is, by their speeds beside the first one."""
        return self.timings[name].speed / self.timings[other].speed

    def share(self, name: str) -> float:
        """What a part takes of the first variant's time."""
        return 1 / self.timings[name].speed

    def share_of_limit(self, name: str) -> str:
        """A variant's speed in percent of the limit's; nothing for what is another limit."""
        is_other = name.startswith(LIMIT) and name != self.limit
        return "" if self.limit is None or is_other else f"{self.speedup(name, self.limit):.0%}"


def beside_target(asked: str, *, is_met: bool) -> str:
    """What was asked for and whether it was reached, to stand behind what was measured."""
    return f"(asked: {asked}; {'met' if is_met else 'missed'})"


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
