"""``python -m benchmarks``: throughput of the stages, each variant beside its peers in one run.

python -m benchmarks hotpath --encoder resnet18 densenet121 --queue 4096 65536 --batch 64 256
python -m benchmarks step --device cuda --profile step.json
python -m benchmarks loader --data DATASET
python -m benchmarks packing --nih NIH_FOLDER
python -m benchmarks index
python -m benchmarks peers
python -m benchmarks scaling --ranks 1 2 4
python -m benchmarks evaluation
python -m benchmarks multimodal
python -m benchmarks all --quick
python -m benchmarks report
python -m benchmarks compare BEFORE.json AFTER.json --allow 0.2
python -m benchmarks guard

Results go to benchmarks/results, where those of a quiet machine are kept; those of quick forms go to its folder quick.
Each has a --quick form of under a minute on two cores.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import tyro

from benchmarks import evaluation, multimodal, packing
from benchmarks.evaluation import EvaluationConfig
from benchmarks.hotpath import run as hotpath
from benchmarks.hotpath.guard import guard
from benchmarks.hotpath.run import HotpathConfig
from benchmarks.hotpath.share import measure_share
from benchmarks.index import CHEXPERT_ROWS, measure_index, write_synthetic_index
from benchmarks.loader import run as loader
from benchmarks.loader.run import LoaderConfig
from benchmarks.measuring.result import Comparison, write_result
from benchmarks.measuring.trace import profiled
from benchmarks.multimodal import MultimodalBenchConfig
from benchmarks.packing import PackingConfig
from benchmarks.reporting.compare import compare
from benchmarks.reporting.page import write_report
from benchmarks.scaling import run as scaling
from benchmarks.scaling.run import ScalingConfig
from benchmarks.step import peers
from benchmarks.step import run as step
from benchmarks.step.peers import PeersConfig
from benchmarks.step.run import StepConfig
from shards.base.errors import InputError, run_command

RESULTS = Path(__file__).parent / "results"
QUICK_RESULTS = RESULTS / "quick"
_DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True, kw_only=True)
class AllConfig:
    """Runs every benchmark."""

    data: Path | None = None
    """A packed dataset for the loaders; default: phantom images, made on the spot."""
    quick: bool = False
    """Small grids and few turns: some four minutes on two cores, for a first look."""
    device: str = "cpu"
    """cpu or cuda."""


def main() -> int | None:
    """Times the stages and writes one JSON file a benchmark; or reads such files."""
    commands: dict[str, Callable[..., int | None]] = {
        "hotpath": run_hotpath,
        "step": run_step,
        "loader": run_loader,
        "packing": run_packing,
        "index": run_index,
        "peers": run_peers,
        "scaling": run_scaling,
        "evaluation": run_evaluation,
        "multimodal": run_multimodal,
        "all": run_all,
        "compare": run_compare,
        "report": run_report,
        "guard": guard,
    }
    status: int | None = tyro.extras.subcommand_cli_from_dict(commands, prog="python -m benchmarks")
    return status


def run_hotpath(
    config: Annotated[HotpathConfig, tyro.conf.OmitArgPrefixes],
    output: Path | None = None,
    profile: Path | None = None,
) -> None:
    """Momentum update, queue and InfoNCE.

    Args:
        config: Which grid is measured.
        output: The result file.
        profile: Where to write a trace of the hot path beside a whole step, instead of measuring: a file .json or
            .json.gz.
    """
    _check_device(config.device)
    if profile is None:
        _report("hotpath", config.device, hotpath.run(config), output, quick=config.quick)
        return
    with profiled(profile):
        measure_share(
            encoder=config.step_encoder,
            size=64 if config.quick else config.step_size,
            batch=8 if config.quick else config.step_batch or 16,
            queue=max(config.queue),
            turns=1,
            device=torch.device(config.device),
        )
    print(f"written: {profile}")


def run_step(config: Annotated[StepConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None) -> None:
    """The pretraining step, beside a plain formulation of it, and where its time goes."""
    _check_device(config.device)
    _report("step", config.device, step.run(config), output, quick=config.quick)


def run_loader(config: Annotated[LoaderConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None) -> None:
    """Two views an image, from packed shards to the device, beside what others have."""
    _check_device(config.device)
    _report("loader", config.device, loader.run(config), output, quick=config.quick)


def run_packing(
    config: Annotated[PackingConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None, quick: bool = False
) -> None:
    """Packing of large JPEGs, PNGs and images that pass unchanged, and its peak memory.

    Args:
        config: How many images of each kind are packed.
        output: The result file.
        quick: Few images and turns: half a minute, for a first look.
    """
    if quick:
        config = replace(config, large=8, png=16, small=500, turns=min(config.turns, 3), memory=(1000,))
    comparisons, memory = packing.run(config)
    _report("packing", "cpu", comparisons, output, remarks=memory, quick=quick)


def run_index(rows: int = CHEXPERT_ROWS, turns: int = 5, output: Path | None = None, quick: bool = False) -> None:
    """The index at CheXpert's size: opening, a patient-level fraction, peak memory; one fresh process a turn.

    Args:
        rows: Rows of the index.
        turns: Times it is measured.
        output: The result file.
        quick: A tenth of the rows, two turns.
    """
    if quick:
        rows, turns = rows // 10, min(turns, 2)
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_synthetic_index(Path(folder) / "data", rows)
        measured = [measure_index(dataset) for _ in range(turns)]
    lines = [
        f"{name.replace('_', ' ')}: median {median(values):.3g}, from {min(values):.3g} to {max(values):.3g}"
        for name in ("open_seconds", "parquet_seconds", "fraction_seconds", "import_seconds", "peak_megabytes")
        for values in [[getattr(turn, name) for turn in measured]]
    ]
    _report("index", "cpu", [], output, remarks=[f"index of {rows:,} rows, {turns} turns", *lines], quick=quick)


def run_peers(config: Annotated[PeersConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None) -> None:
    """What others have for the same work: lightly, timm, torchvision, DALI, webdataset, Kornia."""
    _check_device(config.device)
    _report("peers", config.device, peers.run(config), output, quick=config.quick)


def run_scaling(config: Annotated[ScalingConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None) -> None:
    """Ranks 1, 2, 4 on this machine, and what more nodes should give."""
    _check_device(config.device)
    _report("scaling", config.device, scaling.run(config), output, quick=config.quick)


def run_evaluation(config: Annotated[EvaluationConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None) -> None:
    """Linear probes at label fractions and the bootstrap of patients, at CheXpert's size."""
    comparisons, remarks = evaluation.run(config)
    _report("evaluation", "cpu", comparisons, output, remarks=remarks, quick=config.quick)


def run_multimodal(
    config: Annotated[MultimodalBenchConfig, tyro.conf.OmitArgPrefixes], output: Path | None = None
) -> None:
    """Training of the multimodal classifier on image tokens that are there already."""
    _check_device(config.device)
    _report("multimodal", config.device, multimodal.run(config), output, quick=config.quick)


def run_all(config: Annotated[AllConfig, tyro.conf.OmitArgPrefixes]) -> int:
    """All of them, each in a fresh process; exit code 1 where one failed."""
    _check_device(config.device)
    failed = [words[0] for words in _all_commands(config) if not _succeeds(words)]
    if failed:
        print(f"failed: {', '.join(failed)}; the message of each is above", file=sys.stderr)
    return 1 if failed else 0


def _all_commands(config: AllConfig) -> list[list[str]]:
    quick = ["--quick"] if config.quick else []
    device = ["--device", config.device]
    data = ["--data", str(config.data.resolve())] if config.data is not None else []
    return [
        ["hotpath", *device, *quick],
        ["step", *device, *data, *quick],
        ["loader", *device, *data, *quick],
        ["packing", *quick],
        ["index", *quick],
        ["peers", *device, *data, *quick],
        ["scaling", *device, *quick],
        ["evaluation", *quick],
        ["multimodal", *device, *quick],
    ]


def _succeeds(words: Sequence[str]) -> bool:
    """Runs one command. A process of its own has threads, memory and process groups of its own."""
    print(f"python -m benchmarks {' '.join(words)}", flush=True)
    root = Path(__file__).parents[1]
    return subprocess.run([sys.executable, "-m", "benchmarks", *words], check=False, cwd=root).returncode == 0


def run_compare(
    before: tyro.conf.Positional[Path],
    after: tyro.conf.Positional[Path],
    allow: float = 0.2,
    only: tuple[str, ...] = (),
) -> int:
    """Two results of one benchmark: exit code 1 where a ratio worsened by more than the allowed share.

    Args:
        before: A result file.
        after: One of the same grid, later.
        allow: Share by which a ratio may worsen.
        only: Words, one of which is to be in a variant's name for it to count; default: all variants.
    """
    return compare(before, after, allow=allow, only=only)


def run_report(results: Path = RESULTS, output: Path = _DOCS) -> None:
    """A Markdown page with plots of all results.

    Args:
        results: Folder of result files.
        output: Folder that gets benchmarks.md, and a folder benchmarks of plots.
    """
    print(f"written: {write_report(results, output)}")


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
