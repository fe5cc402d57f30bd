"""``python -m benchmarks``: throughput of the stages, each variant beside its peers in one run.

python -m benchmarks hotpath --device cuda
python -m benchmarks loader --data DATASET --size 64
python -m benchmarks packing --nih NIH_FOLDER
python -m benchmarks index
python -m benchmarks all --quick
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import tyro

from benchmarks import hotpath, loader, packing
from benchmarks.hotpath import HotpathConfig
from benchmarks.index import CHEXPERT_ROWS, measure_index, write_synthetic_index
from benchmarks.loader import LoaderConfig
from benchmarks.packing import PackingConfig
from benchmarks.result import Comparison, write_result
from shards.build import BuildConfig, build_dataset
from shards.errors import InputError, run_command
from shards.phantom import PhantomConfig, write_phantom

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class AllConfig:
    """Runs every benchmark."""

    data: Path | None = None
    """A packed dataset for the loader; default: phantom images, made on the spot."""
    quick: bool = False
    """Small grid and few turns: under a minute, for a first look."""
    device: str = "cpu"
    """cpu or cuda."""


def main() -> None:
    """Times the stages and writes one JSON file a benchmark."""
    commands: dict[str, Callable[..., None]] = {
        "hotpath": run_hotpath,
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


def run_loader(config: Annotated[LoaderConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None) -> None:
    """Two views an image, from packed shards to the device."""
    _check_device(config.device)
    _report("loader", config.device, loader.run(config), output)


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
    _report("hotpath", config.device, hotpath.run(hot), None)
    with tempfile.TemporaryDirectory() as folder:
        data = config.data or _phantom_dataset(Path(folder))
        views = LoaderConfig(data=data, device=config.device, turns=3 if quick else 7, images=512 if quick else 2048)
        _report("loader", config.device, loader.run(views), None)
    pack = PackingConfig(large=8, png=16, small=500, turns=3, memory=(1000,)) if quick else PackingConfig()
    comparisons, memory = packing.run(pack)
    _report("packing", "cpu", comparisons, None, remarks=memory)


def _check_device(device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: must be cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA device here; use cpu")


def _phantom_dataset(folder: Path) -> Path:
    write_phantom(PhantomConfig(output=folder / "phantom", chexpert_patients=250, size=128, shenzhen_images=0))
    source = folder / "phantom" / "CheXpert-v1.0-small"
    build_dataset(BuildConfig(source="chexpert", input=source, output=folder / "data", size=128))
    return folder / "data"


def _report(
    name: str, device: str, comparisons: Sequence[Comparison], output: Path | None, *, remarks: Sequence[str] = ()
) -> None:
    path = output or RESULTS / f"{name}-{device}.json"
    write_result(path, name, torch.device(device), comparisons, remarks=remarks)
    print("\n\n".join(comparison.table() for comparison in comparisons))
    print("\n".join(["", *remarks, f"written: {path}", ""]))


if __name__ == "__main__":
    run_command(main)
