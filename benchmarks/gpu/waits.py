"""What of pretraining waits for the device: CUDA's own check on operators, and calls of ``torch.cuda.synchronize``.

Counted over the second half of a run's batches, behind what libraries do once, and between two lines of metrics.
"""

import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.job import Job
from pipeline.device import find_device
from train.run.loop import pretrain
from train.run.monitor import Monitor
from train.settings.checks import check_config
from train.settings.command import parse_command

_ROOT = Path(__file__).parents[2]
_FRAMES = 3  # of the project and DeepSpeed, that name a place


def run(job: Job) -> None:
    """One epoch of MoCo in this process."""
    sizes = job.sizes
    words = ["small_resnet18", "--data", str(job.data), "--output", str(job.work / "waits"), "--selection.split", "all"]
    words += ["--views.size", str(sizes.side), "--run.batch-size", str(sizes.small_batch), "--run.epochs", "1"]
    words += ["--method.queue-size", str(sizes.small_queue), "--run.log-every", "1000000"]
    config = parse_command([*words, "--run.checkpoint-every", "1000000"]).config
    check_config(config, world_size=1)
    watch = Watch(find_device(job.device))
    with watch:
        pretrain(config)
    found, batches = watch.second_half()
    waits = sum(found.values()) / max(1, batches)
    where = "" if job.device != "cpu" else "; a CPU makes nobody wait, so this counts calls of synchronize alone"
    job.say(f"{waits:.2f} waits for the device a step, of {batches} batches{where}", waits=waits, batches=batches)
    for place, number in found.most_common(20):
        job.say(f"{number / batches:.2f} a step: {place}")


class Watch:
    """Notes each wait inside, with its place and the number of the batch that it falls in."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._batch = device, 0
        self._found: list[tuple[int, str]] = []

    def __enter__(self) -> "Watch":
        self._before = (torch.cuda.synchronize, warnings.showwarning, Monitor.observe)
        synchronize, shown = torch.cuda.synchronize, warnings.showwarning
        observe: Callable[[Monitor, Any], None] = Monitor.observe

        def counted(*at: Any, **named: Any) -> None:
            self._note("torch.cuda.synchronize")
            if self._device.type == "cuda":
                synchronize(*at, **named)

        def told(message: Warning | str, *at: Any, **named: Any) -> None:
            if "synchronizing CUDA operation" in str(message):
                self._note("operator")
            else:
                shown(message, *at, **named)

        def observed(monitor: Monitor, objective: Any) -> None:
            observe(monitor, objective)
            self._batch += 1

        torch.cuda.synchronize, warnings.showwarning, Monitor.observe = counted, told, observed  # type: ignore[method-assign, assignment]
        warnings.filterwarnings("always", message=".*synchronizing CUDA operation.*")
        if self._device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize, warnings.showwarning, Monitor.observe = self._before  # type: ignore[method-assign]

    def second_half(self) -> tuple[Counter[str], int]:
        """Waits by place in the second half of the batches, the last one apart, and the number of these batches."""
        first, last = self._batch // 2, self._batch - 1
        return Counter(place for batch, place in self._found if first <= batch < last), last - first

    def _note(self, kind: str) -> None:
        frames = [f for f in traceback.extract_stack()[:-2] if "/torch/" not in f.filename and f.filename != __file__]
        own = [f for f in frames if "deepspeed" in f.filename or Path(f.filename).is_relative_to(_ROOT)]
        names = [f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno}" for f in reversed(own[-_FRAMES:])]
        self._found.append((self._batch, f"{kind} in {' < '.join(names)}"))
        if len(self._found) > 100_000:
            sys.exit("over 100,000 waits: the run is given up")
