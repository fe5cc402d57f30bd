import gzip
import json

import pytest
import torch

from benchmarks.measuring.trace import named_range, profiled
from benchmarks.step.clock import Clock
from shards.base.errors import InputError

CPU = torch.device("cpu")


def _ranges(events):
    return {e["name"]: (e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") == "user_annotation"}


def test_a_trace_has_the_ranges_and_what_ran_inside_them(tmp_path):
    path = tmp_path / "made" / "trace.json"
    with profiled(path), named_range("outer", CPU):
        torch.ones(8) + 1
        with named_range("inner", CPU):
            torch.ones(8, 8) @ torch.ones(8, 8)
    trace = json.loads(path.read_text())
    ranges = _ranges(trace["traceEvents"])
    (matmul,) = [event for event in trace["traceEvents"] if event.get("name") == "aten::matmul"]
    assert ranges["outer"][0] <= ranges["inner"][0] <= matmul["ts"] <= ranges["inner"][1] <= ranges["outer"][1]
    assert matmul["ph"] == "X", "what Chrome and Perfetto show as a bar"


def test_a_trace_can_be_packed(tmp_path):
    path = tmp_path / "trace.json.gz"
    with profiled(path), named_range("packed", CPU):
        pass
    assert "packed" in _ranges(json.loads(gzip.decompress(path.read_bytes()))["traceEvents"])


@pytest.mark.parametrize("name", ["trace.txt", "folder.json"])
def test_a_name_that_no_viewer_would_open_is_refused_before_anything_runs(tmp_path, name):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=f"--profile .*{name}: .*ends in .json or .json.gz"), profiled(tmp_path / name):
        raise AssertionError("ran")


def test_a_clock_names_its_parts_where_it_is_asked_to(tmp_path):
    clock = Clock(CPU)
    path = tmp_path / "trace.json"
    with profiled(path):
        with clock.part("backward"):
            pass
        clock.names_ranges = True
        with clock.part("loss and queue"), clock.part("forward"):
            pass
    ranges = _ranges(json.loads(path.read_text())["traceEvents"])
    assert set(ranges) == {"loss and queue", "forward"}
    assert ranges["loss and queue"][0] <= ranges["forward"][0] <= ranges["forward"][1] <= ranges["loss and queue"][1]
    assert clock.seconds["forward"] == 0, "nothing is timed while it is recorded"


def test_ranges_are_nvtx_ranges_on_a_gpu(monkeypatch):
    said = []
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", said.append)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: said.append("pop"))
    with named_range("forward", torch.device("cuda")):
        said.append("inside")
    with named_range("forward", CPU):
        pass
    assert said == ["forward", "inside", "pop"]
