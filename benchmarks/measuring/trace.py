"""Profiles that a browser shows: what ran when, on every thread and GPU stream, under the names of a step's phases.

    python -m benchmarks step --quick --profile step.json

chrome://tracing and https://ui.perfetto.dev open the file, also when its name ends in .json.gz. On GPUs each phase is
an NVTX range as well, which Nsight Systems shows (``nsys profile --trace cuda,nvtx python -m benchmarks step ...``).
Recording slows what it records down, the first step most, so nothing is timed meanwhile: read shares and gaps off the
later steps, not milliseconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.checks import check_trace_path


@contextmanager
def profiled(path: Path) -> Iterator[None]:
    """Records what runs inside, on the CPU and on the GPU if there is one, and writes it to ``path``.

    About 250 bytes an event, 3 MB a ResNet18 step on a CPU, a tenth of that packed: record steps, not a whole run.

    Raises:
        InputError: the name does not end in .json or .json.gz, or is that of a folder.
    """
    check_trace_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recording:
        yield
    recording.export_chrome_trace(str(path))


@contextmanager
def named_range(name: str, device: torch.device) -> Iterator[None]:
    """Gives what runs inside a name in the profile, and in that of NVTX on a GPU."""
    with record_function(name):
        if device.type != "cuda":
            yield
            return
        torch.cuda.nvtx.range_push(name)
        try:
            yield
        finally:
            torch.cuda.nvtx.range_pop()
