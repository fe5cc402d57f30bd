import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.gpu.commands import command_of
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.settings import GpuConfig
from shards.base.errors import run_command

MODULES = {"step": "step.run", "loader": "loader.run", "hotpath": "hotpath.run"}
BENCHMARKS = [part.name for part in PARTS if part.name.partition("-")[0] in MODULES]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("part", BENCHMARKS)
def test_a_benchmark_accepts_what_it_is_given(part, device, tmp_path, monkeypatch):
    """Each command line is parsed and checked by the benchmark, which here only takes note of it."""
    taken = []
    name = part.partition("-")[0]
    monkeypatch.setattr(f"benchmarks.{MODULES[name]}.run", lambda config: taken.append(config) or ())
    monkeypatch.setattr("benchmarks.measuring.machine.describe_machine", lambda device: {})
    monkeypatch.setattr("pipeline.device.find_device", lambda name, field="": name)
    words = command_of(part, GpuConfig(output=tmp_path, device=device), tmp_path)
    assert words[:3] == [sys.executable, "-m", "benchmarks"]
    monkeypatch.setattr(sys, "argv", words[2:])
    with pytest.raises(SystemExit) as ended:
        run_command(command.main)
    assert not ended.value.code
    (config,) = taken
    assert config.device == device
    if name == "loader":
        assert config.only == (part.partition("-")[2],)
    if part == "step":
        assert (config.size, config.batch) == ((320, 256) if device == "cuda" else (64, 8))
        assert config.data == tmp_path / "work" / "data"
    if part == "hotpath":
        assert "resnet50" in config.encoder
        assert (config.step_size, config.step_batch) == ((224, 256) if device == "cuda" else (64, 8))


def test_other_parts_are_given_the_dataset(tmp_path):
    words = command_of("resume", GpuConfig(output=tmp_path, device="cuda", data=Path("/data/nih")), tmp_path)
    assert words[1:] == ["-m", "benchmarks.gpu.part", "resume", "cuda", str(tmp_path), "/data/nih"]
