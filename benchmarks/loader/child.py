"""One feed of the loader benchmark in a process of its own: waiting, memory, and how soon its first batch comes.

Three passes over the images: the first as fast as it goes, the second before a consumer that takes its time, the third
as fast as it goes again. Memory is sampled from outside, and only after the first batch, whose time it would lengthen.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.loader.feeds import DALI, KORNIA, MOCO_V2, RESIDENT, Batch, Feed, Setting, consume
from benchmarks.loader.peers import PEERS
from benchmarks.measuring.resources import MemoryPeak, Resources, held_megabytes
from pipeline.device import find_device

_MARK = "loader-child "  # before what the parent reads, since libraries print as well

FEEDS = {feed.name: feed for feed in (*PEERS, MOCO_V2, DALI, KORNIA, RESIDENT)}
"""Those whose resources can be measured."""


def measure_resources(feed: Feed, setting: Setting, *, consumer: float) -> Resources:
    """Runs the feed in a fresh process.

    Raises:
        RuntimeError: it failed there; the message ends as its standard error does.
    """
    settings = json.dumps({**asdict(setting), "data": str(setting.data.resolve())})
    command = [sys.executable, "-m", "benchmarks.loader.child", feed.name, settings, str(consumer)]
    root = Path(__file__).parents[2]
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=root)
        assert child.stdout is not None
        peak = MemoryPeak(child.pid)
        said: list[float] = []
        for line in child.stdout:
            if not line.startswith(_MARK):
                continue
            said.append(float(line.removeprefix(_MARK)))
            if len(said) == 1:
                peak.start()
        highest = peak.stop() if said else 0.0
        if child.wait() or len(said) != 6:
            errors.seek(0)
            raise RuntimeError(f"{feed.name} in a process of its own failed: {errors.read()[-2000:]}")
    first_batch, share, *after_passes, on_device = said
    return Resources(
        wait_share=share,
        consumer=consumer,
        peak_megabytes=max(highest, *after_passes),
        pass_megabytes=tuple(after_passes),
        first_batch_seconds=first_batch,
        device_megabytes=on_device or None,
    )


def wait_share(batches: Iterator[Batch], *, seconds: float) -> float:
    """Share of the time that is spent waiting for batches, of a consumer that sleeps for ``seconds`` after each.

    The first batch is left out: it is the latency of the pass, which in a real epoch is one wait among thousands.
    """
    next(batches)
    time.sleep(seconds)
    start = time.perf_counter()
    waited = 0.0
    while True:
        asked = time.perf_counter()
        if next(batches, None) is None:
            break
        waited += time.perf_counter() - asked
        time.sleep(seconds)
    return waited / max(time.perf_counter() - start, 1e-9)


def main() -> None:
    """Measures the feed that the arguments name, and says each figure on a line of its own."""
    name, settings, consumer = sys.argv[1:]
    fields = json.loads(settings)
    setting = Setting(**{**fields, "data": Path(fields["data"])})
    feed, device = FEEDS[name], find_device(setting.device)
    for module in feed.modules:
        importlib.import_module(module)
    after_passes = []
    start = time.perf_counter()
    with feed.open(setting) as one_pass:
        batches = one_pass()
        first = [view.to(device) for view in next(batches)]
        if device.type == "cuda":
            torch.cuda.synchronize()
        _say(time.perf_counter() - start)
        del first
        consume(batches, device)
        after_passes.append(held_megabytes(os.getpid()))
        share = wait_share(one_pass(), seconds=setting.batch / float(consumer))
        after_passes.append(held_megabytes(os.getpid()))
        consume(one_pass(), device)
        after_passes.append(held_megabytes(os.getpid()))
        on_device = _device_megabytes(device)
    for figure in (share, *after_passes, on_device):
        _say(figure)


def _device_megabytes(device: torch.device) -> float:
    if device.type != "cuda":
        return 0.0
    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / 2**20


def _say(figure: float) -> None:
    print(f"{_MARK}{figure}", flush=True)


if __name__ == "__main__":
    main()
