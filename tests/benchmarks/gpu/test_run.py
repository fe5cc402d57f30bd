import json
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmarks.gpu import run as hour
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.settings import GpuConfig
from benchmarks.measuring.result import read_result
from shards.base.errors import InputError
from tests.conftest import ROOT

TRIAL = GpuConfig(output=Path("unused"), device="cpu")
DONE = "print('all is well')"


@pytest.fixture
def parts(monkeypatch):
    """What each part of four runs, by name; a line for those that are not named."""
    programs: dict[str, str] = {}
    command = lambda part, config, folder: [sys.executable, "-c", programs.get(part, DONE)]  # noqa: E731
    monkeypatch.setattr(hour, "command_of", command)
    monkeypatch.setattr(hour, "PARTS", PARTS[:4])
    return programs


def endings(folder):
    parts = json.loads((folder / "state.json").read_text())["parts"]
    return {name: part["how"] for name, part in parts.items()}


def test_a_failure_costs_no_other_part_and_is_tried_again(parts, tmp_path, capsys):
    parts["tests"] = "import sys; print('two tests failed'); sys.exit(3)"
    config = replace(TRIAL, output=tmp_path / "hour", archive=tmp_path / "back" / "all.tar.gz")
    assert hour.run_all(config) == 1
    assert endings(config.output) == {"machine": "done", "smoke": "done", "tests": "failed", "data": "done"}
    said = capsys.readouterr()
    assert "two tests failed\n  failed after" in said.out
    assert "exit code 3" in said.out
    assert said.err == "tests failed; the same command tries them again\n"
    with tarfile.open(config.archive) as archive:
        assert {"hour/state.json", "hour/summary.md", "hour/logs/tests.txt"} < set(archive.getnames())
    parts["tests"] = DONE
    assert hour.run_all(config) == 0
    again = capsys.readouterr().out
    assert "smoke: done before" in again
    assert "smoke: each engine" not in again
    assert endings(config.output)["tests"] == "done"


def test_a_part_beyond_its_limit_is_ended_with_all_that_it_has_started(parts, tmp_path, monkeypatch):
    """Also what has left its session and outlives it, as ranks of a launcher do."""
    left = "import time; time.sleep(600)"
    parts["machine"] = (
        "import subprocess, sys, time\n"
        f"other = subprocess.Popen([sys.executable, '-c', {left!r}], start_new_session=True)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(other.pid))\n"
        "time.sleep(600)"
    )
    monkeypatch.setattr(hour, "PARTS", (replace(PARTS[0], seconds=1),))
    monkeypatch.setattr(hour, "CPU_PATIENCE", 2)
    begin = time.monotonic()
    assert hour.run_all(replace(TRIAL, output=tmp_path / "hour")) == 1
    assert time.monotonic() - begin < 30
    assert endings(tmp_path / "hour") == {"machine": "stopped"}
    deadline = time.monotonic() + 10
    while is_alive(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_what_no_time_is_left_for_comes_next_time(parts, tmp_path, capsys):
    config = replace(TRIAL, output=tmp_path / "hour", minutes=0.01)
    assert hour.run_all(config) == 0
    assert set(endings(config.output).values()) == {"left"}
    assert "data: left for the next time" in capsys.readouterr().out
    assert hour.run_all(replace(config, minutes=10)) == 0
    assert set(endings(config.output).values()) == {"done"}


def test_some_parts_alone_are_run_again(parts, tmp_path):
    config = replace(TRIAL, output=tmp_path / "hour")
    hour.run_all(config)
    parts["smoke"] = "raise SystemExit(1)"
    hour.run_all(replace(config, only=("smoke",)))
    assert endings(config.output)["smoke"] == "failed"


def test_a_dataset_that_is_given_is_not_made(parts, tmp_path):
    hour.run_all(replace(TRIAL, output=tmp_path / "hour", data=tmp_path))
    assert "data" not in endings(tmp_path / "hour")


def test_children_of_a_trial_see_no_gpu(parts, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    parts["machine"] = "import os; assert os.environ['CUDA_VISIBLE_DEVICES'] == ''"
    assert hour.run_all(replace(TRIAL, output=tmp_path / "hour", only=("machine",))) == 0


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ('{"device": "cuda", "parts": {}}', "holds a run on cuda; give another folder for cpu"),
        ("{", "state.json cannot be read; remove it, or give another folder"),
        ('{"device": "cpu", "parts": {"smoke": 3}}', "state.json cannot be read"),
    ],
)
def test_a_folder_of_another_run_is_refused(parts, tmp_path, state, said):
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(InputError, match=said):
        hour.run_all(replace(TRIAL, output=tmp_path))


@pytest.mark.slow
def test_the_whole_of_it_runs_on_a_cpu(tmp_path):
    """Every part to its end; then the same command has nothing left to do."""
    folder = tmp_path / "hour"
    command = [sys.executable, "-m", "benchmarks", "gpu", "--device", "cpu", "--minutes", "60", "--output", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert endings(folder) == {part.name: "done" for part in PARTS}
    results = {part.name: read_result(folder / f"{part.name}-cpu.json") for part in PARTS}
    assert all(result.comparisons or result.remarks for result in results.values())
    assert (
        "| a resumed run ends with the same bits | differ by 0 at most | met |" in (folder / "summary.md").read_text()
    )
    assert "| not measured (a trial on a CPU) |" in done.stdout
    assert "grey level" in done.stdout
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert again.stdout.count("done before") == len(PARTS)
