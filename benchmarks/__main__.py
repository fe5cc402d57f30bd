"""``python -m benchmarks``: throughput of the stages, each variant beside its peers in one run.

python -m benchmarks hotpath --device cuda
python -m benchmarks step --device cuda
python -m benchmarks loader --data DATASET
python -m benchmarks packing --nih NIH_FOLDER
python -m benchmarks index
python -m benchmarks all --quick

Results go to benchmarks/results, where those of a quiet machine are kept; those of quick forms go to its folder quick.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import tyro

from benchmarks import hotpath, loader, packing, step
from benchmarks.hotpath import HotpathConfig
from benchmarks.index import CHEXPERT_ROWS, measure_index, write_synthetic_index
from benchmarks.loader import LoaderConfig
from benchmarks.packing import PackingConfig
from benchmarks.result import Comparison, write_result
from benchmarks.step import StepConfig
from shards.errors import InputError, run_command

RESULTS = Path(__file__).parent / "results"
QUICK_RESULTS = RESULTS / "quick"


@dataclass(frozen=True, kw_only=True)
class AllConfig:
    """Runs every benchmark."""

    data: Path | None = None
    """A packed dataset for the loader; default: phantom images, made on the spot."""
    quick: bool = False
    """Small grids and few turns: some two minutes on two cores, for a first look."""
    device: str = "cpu"
    """cpu or cuda."""


def main() -> None:
    """Times the stages and writes one JSON file a benchmark."""
    commands: dict[str, Callable[..., None]] = {
        "hotpath": run_hotpath,
        "step": run_step,
        "loader": run_loader,
        "packing": run_packing,
        "index": run_index,
        "all": run_all,
    }
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m benchmarks")


def run_hotpath(config: Annotated[HotpathConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None) -> None:
    """Momentum update, InfoNCE and enqueue."""
    _check_device(config.device)
    _report("hotpath", config.device, hotpath.run(config), output)


def run_step(config: Annotated[StepConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None) -> None:
    """The pretraining step, beside a plain formulation of it, and where its time goes."""
    _check_device(config.device)
    _report("step", config.device, step.run(config), output, quick=config.quick)


def run_loader(config: Annotated[LoaderConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None) -> None:
    """Two views an image, from packed shards to the device, beside what others have."""
    _check_device(config.device)
    _report("loader", config.device, loader.run(config), output, quick=config.quick)


def run_packing(config: Annotated[PackingConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None) -> None:
    """Packing of large JPEGs, PNGs and images that pass unchanged, and its peak memory."""
    comparisons, memory = packing.run(config)
    _report("packing", "cpu", comparisons, output, remarks=memory)


def run_index(rows: int = CHEXPERT_ROWS, turns: int = 5, output: Path | None = None) -> None:
    """The index at CheXpert's size: opening, a patient-level fraction, peak memory; one fresh process a turn."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_synthetic_index(Path(folder) / "data", rows)
        measured = [measure_index(dataset) for _ in range(turns)]
    lines = [
        f"{name.replace('_', ' ')}: median {median(values):.3g}, from {min(values):.3g} to {max(values):.3g}"
        for name in ("open_seconds", "parquet_seconds", "fraction_seconds", "import_seconds", "peak_megabytes")
        for values in [[getattr(turn, name) for turn in measured]]
    ]
    _report("index", "cpu", [], output, remarks=[f"index of {rows:,} rows, {turns} turns", *lines])


def run_all(config: Annotated[AllConfig, tyro.conf.OmitArgPrefixes]) -> None:
    """All of them."""
    _check_device(config.device)
    quick = config.quick
    hot = HotpathConfig(device=config.device)
    if quick:
        hot = HotpathConfig(device=config.device, encoder=("resnet18",), queue=(4096,), turns=5)
    _report("hotpath", config.device, hotpath.run(hot), None, quick=quick)
    _report("step", config.device, step.run(StepConfig(device=config.device, quick=quick)), None, quick=quick)
    views = LoaderConfig(data=config.data, device=config.device, quick=quick)
    _report("loader", config.device, loader.run(views), None, quick=quick)
    pack = PackingConfig(large=8, png=16, small=500, turns=3, memory=(1000,)) if quick else PackingConfig()
    comparisons, memory = packing.run(pack)
    _report("packing", "cpu", comparisons, None, remarks=memory, quick=quick)


def _check_device(device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: must be cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA device here; use cpu")


def _report(
    name: str,
    device: str,
    comparisons: Sequence[Comparison],
    output: Path | None,
    *,
    remarks: Sequence[str] = (),
    quick: bool = False,
) -> None:
    path = output or (QUICK_RESULTS if quick else RESULTS) / f"{name}-{device}.json"
    write_result(path, name, torch.device(device), comparisons, remarks=remarks)
    print("\n\n".join(comparison.table() for comparison in comparisons))
    print("\n".join(["", *remarks, f"written: {path}", ""]))


if __name__ == "__main__":
    run_command(main)
