import json
import subprocess
import sys

import pytest

from benchmarks import __main__ as command
from benchmarks import suite
from benchmarks.measuring.result import Comparison, Timing, read_result
from benchmarks.settings import HotpathConfig
from benchmarks.suite import AllConfig
from shards.base.errors import InputError, run_command
from tests.conftest import ROOT

NAMES = ("hotpath", "step", "loader", "packing", "index", "peers", "scaling", "evaluation", "waiting", "multimodal")
TIMING = Timing(median=1.0, low_quartile=1.0, high_quartile=1.0, speed=1.0, turns=1)
MODULES = {name: f"{name}.run" for name in ("hotpath", "step", "loader", "scaling")} | {"peers": "step.peers"}


def _run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
    with pytest.raises(SystemExit) as ended:
        run_command(command.main)
    return ended.value.code


@pytest.mark.parametrize("quick", [False, True])
def test_all_runs_every_benchmark_with_options_that_it_has(tmp_path, monkeypatch, quick):
    """Each command line is parsed by the command that it is for, which here only takes note of its settings."""
    taken = []
    for name in NAMES:
        monkeypatch.setattr(
            f"benchmarks.{MODULES.get(name, name)}.run",
            lambda config, name=name: taken.append((name, config)) or (),
        )
    monkeypatch.setattr(command, "_report", lambda name, *_, **options: taken.append((name, options.get("quick"))))
    commands = suite.all_commands(AllConfig(data=tmp_path, quick=quick))
    for words in commands:
        assert _run(monkeypatch, *words) == 0
    names = {name for name, _ in taken}
    assert names == set(NAMES)
    assert all(one is quick for _, one in taken if isinstance(one, bool))
    assert {name for name, config in taken if getattr(config, "data", None) == tmp_path} == {"step", "loader", "peers"}


def test_a_crash_keeps_what_was_measured(tmp_path, monkeypatch, capsys):
    def run(config):
        yield "a remark"
        yield Comparison(title="first", work="w", rate=1.0, unit="images", timings={"a": TIMING})
        raise RuntimeError("CUDA error")

    monkeypatch.setattr("benchmarks.hotpath.run.run", run)
    with pytest.raises(RuntimeError, match="CUDA error"):
        command.hotpath(HotpathConfig(), output=tmp_path / "hotpath.json")
    kept = read_result(tmp_path / "hotpath.json")
    assert [one.title for one in kept.comparisons] == ["first"]
    assert kept.remarks == ("a remark",)
    assert "first\n  w\n" in capsys.readouterr().out


def test_what_is_printed_fits_80_columns(tmp_path, monkeypatch, capsys):
    long = "words that go on and on, " * 8
    one = Comparison(title=long, work=long, rate=1.0, unit="images", timings={long: TIMING}, remarks=(long,))
    monkeypatch.setattr("benchmarks.hotpath.run.run", lambda config: [long, one])
    command.hotpath(HotpathConfig(), output=tmp_path / "hotpath.json")
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if not line.startswith("written: ")) <= 80
    assert " ".join(printed.split()).count(long.strip()) == 5


def test_the_page_of_quick_results_alone_is_asked_for_by_name(tmp_path, monkeypatch, capsys):
    one = Comparison(title="first", work="w", rate=1.0, unit="images", timings={"a": TIMING})
    monkeypatch.setattr("benchmarks.hotpath.run.run", lambda config: [one])
    monkeypatch.chdir(tmp_path)
    command.hotpath(HotpathConfig(quick=True))
    assert _run(monkeypatch, "report") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "name their folder, --results benchmark-results/quick" in told
    assert _run(monkeypatch, "report", "--results", "benchmark-results/quick") == 0


def test_results_go_where_one_is_and_not_over_those_that_are_kept(tmp_path, monkeypatch):
    one = Comparison(title="first", work="w", rate=1.0, unit="images", timings={"a": TIMING})
    monkeypatch.setattr("benchmarks.hotpath.run.run", lambda config: [one])
    monkeypatch.chdir(tmp_path)
    command.hotpath(HotpathConfig())
    command.hotpath(HotpathConfig(quick=True))
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json"))
    assert written == ["benchmark-results/hotpath-cpu.json", "benchmark-results/quick/hotpath-cpu.json"]
    command.report()
    assert (tmp_path / "benchmark-results" / "benchmarks.md").is_file()


def test_all_goes_on_after_a_failure_and_tells_it(monkeypatch, capfd):
    started = []

    def run(words, **_):
        started.append(words[3])
        return subprocess.CompletedProcess(words, returncode=int(words[3] == "step"))

    monkeypatch.setattr(suite.subprocess, "run", run)
    assert suite.run_suite(AllConfig(quick=True)) == 1
    assert started[:2] == ["hotpath", "step"]
    assert len(started) == len(NAMES)
    assert "failed: step;" in capfd.readouterr().err


def test_an_unknown_device_is_a_mistake():
    with pytest.raises(InputError, match="--device tpu: must be cpu or cuda"):
        command.all_benchmarks(AllConfig(device="tpu"))


@pytest.mark.slow
def test_the_quick_index_in_a_process_of_its_own(tmp_path):
    path = tmp_path / "index.json"
    words = [sys.executable, "-m", "benchmarks", "index", "--quick", "--rows", "20000", "--output", str(path)]
    subprocess.run(words, check=True, cwd=ROOT)
    assert json.loads(path.read_text())["remarks"][0] == "index of 2,000 rows, 2 turns"


@pytest.mark.slow
def test_a_profile_of_the_hot_path_names_its_variants(tmp_path):
    path = tmp_path / "trace.json"
    words = [sys.executable, "-m", "benchmarks", "hotpath", "--quick", "--queue", "1024", "--profile", str(path)]
    subprocess.run(words, check=True, cwd=ROOT)
    names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}
    assert {"whole step (trainer)", "hot path, written plainly", "hot path (trainer)"} <= names
