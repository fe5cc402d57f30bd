"""A benchmark result: one JSON file with where and how it was measured, and one table."""

import json
import os
import platform
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Timing
from benchmarks.resources import Resources

_PACKAGES = (
    "torch",
    "torchvision",
    "nvidia-dali-cuda130",
    "kornia",
    "opencv-python-headless",
    "simplejpeg",
    "pillow",
    "joblib",
)
_OPTIONAL_PACKAGES = ("kornia-rs", "webdataset", "lightly", "spdl-core")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Variants of one thing, timed side by side; ``work`` is what one call does, ``rate`` its amount in ``unit``, and
    ``remarks`` are sentences on what the figures come to. ``limit`` names the variant that none can be faster than, and
    ``resources`` says what variants take beside time."""

    title: str
    work: str
    rate: float
    unit: str
    timings: Mapping[str, Timing]
    remarks: tuple[str, ...] = ()
    limit: str | None = None
    resources: Mapping[str, Resources] | None = None

    def table(self) -> str:
        """One line a variant, at most 120 columns: milliseconds, rate, ratio of time to the first variant; or, where
        resources were measured, rates and resources."""
        if self.resources is not None:
            return self._resource_table(self.resources)
        head = f"{self.title}: {self.work}"
        width = max(28, *(len(name) + 1 for name in self.timings))
        names = f"  {'variant':<{width}}{'ms':>10}{'quartiles':>18}{self.unit + '/s':>16}{'time ratio':>12}"
        lines = [
            f"  {name:<{width}}{1e3 * t.median:>10.3f}{1e3 * t.low_quartile:>9.3f}-{1e3 * t.high_quartile:<8.3f}"
            f"{self.rate / t.median:>16,.4g}{t.ratio:>12.3f}"
            for name, t in self.timings.items()
        ]
        return "\n".join([head, names, *lines, *self._remark_lines()])

    def speedup(self, name: str, other: str) -> float:
        """How many times as fast as ``other`` a variant is."""
        return self.timings[other].median / self.timings[name].median

    def _resource_table(self, resources: Mapping[str, Resources]) -> str:
        first = next(iter(self.timings))
        names = (
            f"  {'variant':<39}{self.unit + '/s':>10}{'quartiles':>16}{'x first':>9}{'of limit':>9}"
            f"{'CPU s/1,000':>12}{'waits':>7}{'MB':>7}{'1st ms':>8}"
        )
        lines = []
        for name, t in self.timings.items():
            share = f"{self.speedup(name, self.limit):.0%}" if self.limit else ""
            cpu = "" if t.cpu_seconds is None else f"{1e3 * t.cpu_seconds / self.rate:.2f}"
            quartiles = f"{self.rate / t.high_quartile:,.0f}-{self.rate / t.low_quartile:,.0f}"
            line = f"  {name:<39}{self.rate / t.median:>10,.0f}{quartiles:>16}{self.speedup(name, first):>9.2f}"
            line += f"{share:>9}{cpu:>12}"
            if (used := resources.get(name)) is not None:
                line += f"{used.wait_share:>7.0%}{used.peak_megabytes:>7,.0f}{1e3 * used.first_batch_seconds:>8,.0f}"
            lines.append(line)
        return "\n".join([self.title, f"  {self.work}", names, *lines, *self._remark_lines()])

    def _remark_lines(self) -> list[str]:
        return [textwrap.fill(remark, 120, initial_indent="  ", subsequent_indent="    ") for remark in self.remarks]


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Time, commit, versions, processor and threads: what a reader needs to place a figure."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return {
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "versions": {"python": platform.python_version()} | _versions(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def write_result(
    path: Path, name: str, device: torch.device, comparisons: Sequence[Comparison], *, remarks: Sequence[str] = ()
) -> None:
    """Writes the comparisons of one benchmark, and remarks on all of it, with the machine they were measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "benchmark": name,
        "machine": describe_machine(device),
        "comparisons": [asdict(c, dict_factory=_present) for c in comparisons],
    }
    result |= {"remarks": list(remarks)} if remarks else {}
    path.write_text(json.dumps(result, indent=2) + "\n")


def _present(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Fields that were measured."""
    return {name: value for name, value in fields if value is not None}


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in _PACKAGES}
    for name in _OPTIONAL_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
