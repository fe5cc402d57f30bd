"""``python -m benchmarks``: throughput of the stages, each variant beside its peers in one run.

python -m benchmarks hotpath --encoder resnet18 densenet121 --queue 4096 65536 --batch 64 256
python -m benchmarks step --device cuda --profile step.json
python -m benchmarks loader --data DATASET
python -m benchmarks packing --nih NIH_FOLDER
python -m benchmarks index
python -m benchmarks peers
python -m benchmarks scaling --ranks 1 2 4
python -m benchmarks evaluation
python -m benchmarks waiting
python -m benchmarks multimodal
python -m benchmarks gpu --minutes 10 --output hour
python -m benchmarks gpu-pack --there freeze.txt --python 3.12 --sm 90 --output hour.tar.xz
python -m benchmarks all --quick
python -m benchmarks report
python -m benchmarks compare BEFORE.json AFTER.json --allow 0.2
python -m benchmarks guard

Results go to the folder benchmark-results of where you are, those of quick forms to its folder quick. Those that are
kept stand in benchmarks/results, and nothing is written there but by --output.
Each has a --quick form of about a minute on two cores.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt of the imports below has no more to say

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field
from tyro.conf import OmitArgPrefixes, Positional

from benchmarks.checks import check_settings
from benchmarks.gpu.offline.pack import PackConfig, pack
from benchmarks.gpu.settings import GpuConfig
from benchmarks.measuring.result import Comparison, write_as_it_comes
from benchmarks.settings import (
    EvaluationConfig,
    HotpathConfig,
    IndexConfig,
    LoaderConfig,
    MultimodalBenchConfig,
    PackingConfig,
    PeersConfig,
    ScalingConfig,
    StepConfig,
    WaitingConfig,
)
from benchmarks.suite import AllConfig, run_suite
from eval.report.terminal import wrapped
from shards.base.commands import run_subcommand
from shards.base.errors import run_command

RESULTS = Path("benchmark-results")  # in the working directory: neither over what is kept nor beside installed code


def main() -> int | None:
    """Times the stages and writes one JSON file a benchmark; or reads such files."""
    commands: dict[str, Callable[..., int | None]] = {
        "hotpath": hotpath,
        "step": step,
        "loader": loader,
        "packing": packing,
        "index": index,
        "peers": peers,
        "scaling": scaling,
        "evaluation": evaluation,
        "waiting": waiting,
        "multimodal": multimodal,
        "gpu": gpu,
        "gpu-pack": gpu_pack,
        "all": all_benchmarks,
        "compare": compare,
        "report": report,
        "guard": guard,
    }
    return run_subcommand(commands, package="benchmarks")


# The arguments are read before anything heavy is imported, so the commands import what they run.


def hotpath(config: OmitArgPrefixes[HotpathConfig], output: Path | None = None, profile: Path | None = None) -> None:
    """Momentum update, queue and InfoNCE.

    Args:
        config: Which grid is measured.
        output: The result file.
        profile: Where to write a trace of the hot path beside a whole step, instead of measuring: a file .json or
            .json.gz.
    """
    check_settings(config, profile)
    config = config.resolved()
    from benchmarks.hotpath.run import profile_share, run

    if profile is None:
        _report("hotpath", run(config), output, device=config.device, quick=config.quick)
    else:
        profile_share(config, profile)


def step(config: OmitArgPrefixes[StepConfig], output: Path | None = None) -> None:
    """The pretraining step, beside a plain formulation of it, and where its time goes."""
    check_settings(config, config.profile)
    from benchmarks.step.run import run

    _report("step", run(config), output, device=config.device, quick=config.quick)


def loader(config: OmitArgPrefixes[LoaderConfig], output: Path | None = None) -> None:
    """Two views an image, from packed shards to the device, beside what others have."""
    check_settings(config)
    config = config.resolved()
    from benchmarks.loader.run import run

    _report("loader", run(config), output, device=config.device, quick=config.quick)


def packing(config: OmitArgPrefixes[PackingConfig], output: Path | None = None) -> None:
    """Packing of large JPEGs, PNGs and images that pass unchanged, and its peak memory."""
    check_settings(config)
    from benchmarks.packing import run

    _report("packing", run(config), output, quick=config.quick)


def index(config: OmitArgPrefixes[IndexConfig], output: Path | None = None) -> None:
    """The index at CheXpert's size: opening, a patient-level fraction, peak memory; one fresh process a turn."""
    check_settings(config)
    from benchmarks.index import run

    _report("index", run(config), output, quick=config.quick)


def peers(config: OmitArgPrefixes[PeersConfig], output: Path | None = None) -> None:
    """What others have for the same work: lightly, timm, torchvision, DALI, webdataset, Kornia."""
    check_settings(config)
    from benchmarks.step.peers import run

    _report("peers", run(config), output, device=config.device, quick=config.quick)


def scaling(config: OmitArgPrefixes[ScalingConfig], output: Path | None = None) -> None:
    """Ranks 1, 2, 4 on this machine, and what more nodes should give."""
    check_settings(config)
    config = config.resolved()
    from benchmarks.scaling.run import run

    _report("scaling", run(config), output, device=config.device, quick=config.quick)


def evaluation(config: OmitArgPrefixes[EvaluationConfig], output: Path | None = None) -> None:
    """Linear probes at label fractions and the bootstrap of patients, at CheXpert's size."""
    check_settings(config)
    from benchmarks.evaluation import run

    _report("evaluation", run(config), output, quick=config.quick)


def waiting(config: OmitArgPrefixes[WaitingConfig], output: Path | None = None) -> None:
    """How OpenMP's threads wait for each other, on a quiet machine and on a loaded one."""
    check_settings(config)
    from benchmarks.waiting import run

    _report("waiting", run(config), output, quick=config.quick)


def multimodal(config: OmitArgPrefixes[MultimodalBenchConfig], output: Path | None = None) -> None:
    """Training of the multimodal classifier on image tokens that are there already."""
    check_settings(config)
    from benchmarks.multimodal import run

    _report("multimodal", run(config), output, device=config.device, quick=config.quick)


def gpu(config: OmitArgPrefixes[GpuConfig]) -> int:
    """All that waits for a GPU, in order of worth, beside its targets; exit code 1 where a part failed."""
    check_settings(config)
    from benchmarks.gpu.run import run_all

    return run_all(config)


def gpu_pack(config: OmitArgPrefixes[PackConfig]) -> None:
    """One file that runs gpu on a machine without network."""
    print(f"written: {pack(config)}")


def all_benchmarks(config: OmitArgPrefixes[AllConfig]) -> int:
    """All of them, each in a fresh process; exit code 1 where one failed."""
    check_settings(config)
    return run_suite(config)


def compare(
    before: Positional[Path],
    after: Positional[Path],
    allow: Annotated[float, Field(ge=0, le=1e6)] = 0.2,
    only: tuple[str, ...] = (),
) -> int:
    """Two results of one benchmark: exit code 1 where one fell by more than the allowed share, beyond the spread.

    What is compared is how many times as fast as the first variant of its run each variant is.

    Args:
        before: A result file.
        after: One of the same grid, later.
        allow: Share by which a speed may fall.
        only: Words, one of which is to be in a variant's name for it to count; default: all variants.
    """
    from benchmarks.reporting.compare import compare

    return compare(before, after, allow=allow, only=only)


def report(results: Path = RESULTS, output: Path | None = None) -> None:
    """A Markdown page with a summary of all results, and a page with plots of each.

    Args:
        results: Folder of result files; those of quick forms lie in its folder quick.
        output: Folder that gets benchmarks.md, and a folder benchmarks of pages and plots; default: --results.
    """
    from benchmarks.reporting.page import write_report

    print(f"written: {write_report(results, output or results)}")


def guard() -> int:
    """Does the hot path still gain what it is written for? Exit code 1 if not."""
    from benchmarks.hotpath.guard import guard

    return guard()


def _report(
    name: str, parts: Iterable[Comparison | str], output: Path | None, *, device: str = "cpu", quick: bool
) -> None:
    """Writes and prints comparisons, and remarks on all of it, as they come."""
    from benchmarks.measuring.machine import describe_machine
    from benchmarks.reporting.console import text_table

    path = output or (RESULTS / "quick" if quick else RESULTS) / f"{name}-{device}.json"
    for part in write_as_it_comes(path, name, describe_machine(device), parts):
        print(wrapped(part, later="  ") if isinstance(part, str) else f"{text_table(part)}\n", flush=True)
    print(f"\nwritten: {path}\n")


if __name__ == "__main__":
    run_command(main)
