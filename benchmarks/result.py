"""A benchmark result: one JSON file with where and how it was measured, and one table."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Timing

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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Variants of one thing, timed side by side; ``work`` is what one call does, ``rate`` its amount in ``unit``, and
    ``remarks`` are sentences on what the figures come to."""

    title: str
    work: str
    rate: float
    unit: str
    timings: Mapping[str, Timing]
    remarks: tuple[str, ...] = ()

    def table(self) -> str:
        """One line a variant: milliseconds, rate, ratio of time to the first variant."""
        head = f"{self.title}: {self.work}"
        names = f"  {'variant':<28}{'ms':>10}{'quartiles':>18}{self.unit + '/s':>16}{'time ratio':>12}"
        lines = [
            f"  {name:<28}{1e3 * t.median:>10.3f}{1e3 * t.low_quartile:>9.3f}-{1e3 * t.high_quartile:<8.3f}"
            f"{self.rate / t.median:>16,.4g}{t.ratio:>12.3f}"
            for name, t in self.timings.items()
        ]
        return "\n".join([head, names, *lines, *(f"  {remark}" for remark in self.remarks)])


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Time, commit, versions, processor and threads: what a reader needs to place a figure."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return {
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
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
    result = {"benchmark": name, "machine": describe_machine(device), "comparisons": [asdict(c) for c in comparisons]}
    result |= {"remarks": list(remarks)} if remarks else {}
    path.write_text(json.dumps(result, indent=2) + "\n")


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
