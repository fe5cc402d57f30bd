import json
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.settings import StepConfig
from benchmarks.step.clock import PARTS
from shards.base.errors import InputError
from tests.conftest import ROOT


@pytest.mark.slow
def test_the_step_is_checked_measured_and_written(tmp_path):
    """In a process of its own, as it starts a process group."""
    path, trace = tmp_path / "step.json", tmp_path / "trace.json"
    command = [sys.executable, "-m", "benchmarks", "step", "--quick", "--output", str(path), "--profile", str(trace)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60, "the quick form: under a minute"
    (comparison,) = json.loads(path.read_text())["comparisons"]
    assert list(comparison["timings"]) == [
        "plain: 3 channels, fp32",
        "trainer, fp32",
        "trainer, bf16",
        "trainer, bf16, with loader",
    ]
    assert all(timing["median"] > 0 for timing in comparison["timings"].values())
    shares = comparison["remarks"][0]
    assert all(part in shares for part in PARTS)
    assert "waits for data" in comparison["remarks"][1]
    events = json.loads(trace.read_text())["traceEvents"]
    named = Counter(event["name"] for event in events if event.get("cat") == "user_annotation")
    assert {part: named[part] for part in PARTS} == dict.fromkeys(PARTS, 3) | {"loss and queue": 6}
    assert {"step 0", "step 1", "step 2"} < set(named)


def test_a_trace_that_cannot_be_written_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr("benchmarks.step.run.start_processes", lambda world: pytest.fail("started"))
    with pytest.raises(InputError, match="--profile trace.txt"):
        command.step(StepConfig(quick=True, profile=Path("trace.txt")))


@pytest.mark.slow
def test_small_views_and_batches_pass_the_check():
    settings = ["--size", "32", "--batch", "8", "--queue", "64", "--turns", "1"]
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks", "step", *settings], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
