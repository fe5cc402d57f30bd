"""The command line of each part: a benchmark of its own, or one of :mod:`benchmarks.gpu.part`."""

import sys
from pathlib import Path

from benchmarks.gpu.parts import result_path, sizes_of
from benchmarks.gpu.settings import GpuConfig, PartName


def command_of(part: PartName, config: GpuConfig, folder: Path) -> list[str]:
    """What is run for a part, whose result goes to ``folder``."""
    python = [sys.executable, "-m"]
    sizes, device = sizes_of(config.device), ["--device", config.device]
    output = ["--output", str(result_path(folder, part, config.device))]
    data = dataset_of(config, folder)
    kind, _, engine = part.partition("-")
    if kind == "step":
        own = ["--size", sizes.height, "--batch", sizes.batch, "--queue", sizes.queue, "--turns", sizes.turns]
        trace = ["--profile", str(folder / f"trace-{config.device}.json.gz")]
        return [*python, "benchmarks", "step", *device, *output, "--data", str(data), *map(str, own), *trace]
    if kind == "loader":
        own = ["--size", *sizes.loader_sizes, "--batch", max(8, sizes.batch // 2), "--images", sizes.images]
        turns = ["--turns", str(min(2, sizes.turns))]
        chosen = ["--only", engine, "--data", str(data), *turns]
        return [*python, "benchmarks", "loader", *device, *output, *chosen, *map(str, own)]
    if kind == "hotpath":
        own = ["--turns", sizes.turns, "--batch", sizes.batch, "--queue", sizes.queue, "--step-batch", sizes.batch]
        encoders = ["--encoder", "resnet18", "resnet50", "--no-compile", "--step-size", str(min(224, sizes.height))]
        return [*python, "benchmarks", "hotpath", *device, *output, *encoders, *map(str, own)]
    return [*python, "benchmarks.gpu.part", part, config.device, str(folder), str(data)]


def dataset_of(config: GpuConfig, folder: Path) -> Path:
    """The dataset that parts are given."""
    return folder / "work" / "data" if config.data is None else config.data.resolve()
