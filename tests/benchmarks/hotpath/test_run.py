import json
import subprocess
import sys

import pytest
import torch

from benchmarks.hotpath import run as hotpath
from benchmarks.measuring.machine import describe_machine
from benchmarks.measuring.result import write_result
from benchmarks.settings import HotpathConfig
from shards.base.errors import InputError
from tests.conftest import ROOT

SMALL = HotpathConfig(encoder=("resnet18",), queue=(256,), batch=(16,), turns=2, compile=False, share=False)


def test_every_part_of_the_hot_path_is_measured_and_written(tmp_path):
    comparisons = list(hotpath.run(SMALL))
    assert [c.title for c in comparisons] == [
        "momentum update, resnet18",
        "enqueue, queue 256, batch 16",
        "enqueue, queue 256, batch 16, wrap-around",
        "InfoNCE, queue 256, batch 16",
        "loss and queue, queue 256, batch 16",
    ]
    write_result(tmp_path / "result.json", "hotpath", describe_machine("cpu"), comparisons)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["machine"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    for comparison in result["comparisons"]:
        timings = comparison["timings"]
        assert sum("trainer" in name for name in timings) == 1
        assert all(timing["median"] > 0 for timing in timings.values())
        assert next(iter(timings.values()))["speed"] == 1.0
    assert set(result["comparisons"][3]["memory"]) == set(result["comparisons"][3]["timings"])


def test_quick_takes_one_of_each_and_compiles_nothing(monkeypatch):
    measured = []
    for part in ("momentum", "enqueue", "loss", "loss_and_queue", "share"):
        monkeypatch.setattr(
            hotpath, f"measure_{part}", lambda *at, part=part, **more: measured.append((part, at, more))
        )
    list(hotpath.run(HotpathConfig(quick=True).resolved()))
    assert [part for part, *_ in measured] == ["momentum", "enqueue", "enqueue", "loss", "loss_and_queue", "share"]
    assert measured[0][1] == ("resnet18",)
    assert measured[3][1] == (65_536, 256)
    assert not any(more.get("compiles", False) for *_, more in measured)


def test_a_batch_larger_than_the_queue_is_refused():
    with pytest.raises(InputError, match="--batch 256: larger than --queue 128"):
        HotpathConfig(queue=(4096, 128)).resolved()


@pytest.mark.slow
def test_the_share_of_a_step_is_measured(tmp_path):
    """In a process of its own, as it starts a process group."""
    path = tmp_path / "hotpath.json"
    command = [sys.executable, "-m", "benchmarks", "hotpath", "--quick", "--turns", "2", "--queue", "1024"]
    finished = subprocess.run([*command, "--output", str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    share = json.loads(path.read_text())["comparisons"][-1]
    assert share["title"] == "share of a step, resnet18, 64 px"
    assert share["timings"]["hot path (trainer)"]["speed"] > 1
