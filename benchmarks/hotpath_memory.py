"""The peak of memory that one call allocates."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # read at the first profile: otherwise five lines on stderr for each


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Highest sum of tensors that one call holds at a time, above what there was before it.

    On a GPU as its allocator counts; on a CPU the running sum of what the profiler saw allocated and freed. What a
    library takes beside tensors, such as the packed operands of a matrix product, is in neither.
    """
    call()  # compilation, and buffers that stay
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = call()
    del kept
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    allocations = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    held = highest = 0
    for _, size in allocations:
        held += size
        highest = max(highest, held)
    return highest
