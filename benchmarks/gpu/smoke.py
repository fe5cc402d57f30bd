"""One batch of each engine on the device beside the CPU's, made again, and in another batch size."""

import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.gpu.job import Job
from benchmarks.gpu.parts import ENGINES
from benchmarks.measuring.data import build_phantom_dataset
from pipeline.loader import build_loader
from pipeline.options import EngineName
from pipeline.views import PRESETS, ViewSpec
from shards.index import ShardIndex

_IMAGES, _SIZE, _BATCH, _SMALL = 64, 224, 32, 8
_EDGE = 2  # pixels at the border, where libraries round the image's edge to one side or the other
_START = {"seed": 0, "epoch": 0, "position": 0}


def run(job: Job) -> None:
    """All presets, all engines; one that fails is told, and the next one has its turn."""
    size = _SIZE if job.device != "cpu" else 64
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        index = ShardIndex.open(build_phantom_dataset(Path(folder), num_images=_IMAGES, size=job.sizes.height))
        index = index.take(range(_IMAGES))
        for preset in ("moco_cxr", "moco_v2"):
            spec = replace(PRESETS[preset], size=size)
            with build_loader(index, spec, batch_size=_BATCH, engine="kornia") as loader:
                expected = next(iter(loader)).views
            for engine in ENGINES:
                try:
                    _compare(job, index, spec, preset, engine, expected)
                except Exception as error:
                    failed.append(f"{preset}, {engine}")
                    traceback.print_exc()
                    job.say(
                        f"{preset}, {engine}: failed, {type(error).__name__}: {error}", **{f"{preset} {engine}": None}
                    )
    if failed:
        raise SystemExit(f"failed: {'; '.join(failed)}")


def _compare(
    job: Job, index: ShardIndex, spec: ViewSpec, preset: str, engine: EngineName, expected: tuple[torch.Tensor, ...]
) -> None:
    begin = time.perf_counter()
    with build_loader(index, spec, batch_size=_BATCH, engine=engine, device=job.device) as loader:
        first = _on_cpu(next(iter(loader)).views)
        list(loader)  # the resident engine's next epoch decodes nothing
        loader.load_state_dict(_START)
        again = _on_cpu(next(iter(loader)).views)
    with build_loader(index, spec, batch_size=_SMALL, engine=engine, device=job.device) as loader:
        parts = [_on_cpu(batch.views) for batch in list(loader)[: _BATCH // _SMALL]]
    small = [torch.cat(part) for part in zip(*parts, strict=True)]
    inside = (slice(None), slice(None), slice(_EDGE, -_EDGE), slice(_EDGE, -_EDGE))
    levels = [(a - b)[inside].abs() * spec.std * 255 for a, b in zip(first, expected, strict=True)]
    mean, most = max(float(each.mean()) for each in levels), max(float(each.max()) for each in levels)
    same = all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    alike = all(torch.equal(a, b) for a, b in zip(first, small, strict=True))
    found = {"grey_levels_mean": mean, "grey_levels_most": most, "same_again": same, "same_in_other_batches": alike}
    job.say(
        f"{preset}, {engine}: {mean:.3f} grey levels from the CPU's on average, {most:.1f} at most; made again "
        f"{'the same' if same else 'OTHERS'}; in batches of {_SMALL} {'the same' if alike else 'OTHERS'}; "
        f"{time.perf_counter() - begin:.1f} s",
        **{f"{preset} {engine}": found},
    )


def _on_cpu(views: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [view.float().cpu() for view in views]
