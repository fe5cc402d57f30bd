import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.step import PARTS, Clock

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_step_is_checked_measured_and_written(tmp_path):
    """In a process of its own, as it starts a process group."""
    path = tmp_path / "step.json"
    command = [sys.executable, "-m", "benchmarks", "step", "--quick", "--turns", "2", "--output", str(path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
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


def test_parts_are_charged_without_the_parts_inside_them(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 7.0])
    monkeypatch.setattr("benchmarks.step.time.perf_counter", lambda: next(now))
    clock = Clock(torch.device("cpu"))
    clock.is_on = True
    with clock.part("loss and queue"), clock.part("forward"):
        pass
    assert clock.seconds["forward"] == pytest.approx(2.0)
    assert clock.seconds["loss and queue"] == pytest.approx(1.0 + 4.0)
