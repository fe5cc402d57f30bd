"""Whole runs over the command line, on the tiny dataset."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train.encoders import build_encoder
from train.export import load_encoder
from train.monitor import read_metrics

ROOT = Path(__file__).parents[2]
ENTRY = ROOT / "train" / "pretrain.py"
SETTINGS = ["--run.epochs", "2", "--run.checkpoint-every", "3"]  # 8 steps


def start(data: Path, output: Path, *settings: str, launcher: list[str] | None = None) -> "subprocess.Popen[str]":
    command = [*(launcher or [sys.executable]), str(ENTRY), "debug", "--data", str(data), "--output", str(output)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the launcher starts the python it finds first
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PATH": path}
    return subprocess.Popen(
        [*command, *settings],
        env={name: value for name, value in environment.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[str, str]:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return out, err


@pytest.fixture(scope="module")
def runs(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that was never interrupted, and one that was killed after its first checkpoint and then repeated."""
    folder = tmp_path_factory.mktemp("runs")
    whole, killed = folder / "whole", folder / "killed"
    uninterrupted = start(tiny_dataset, whole, *SETTINGS)
    process = start(tiny_dataset, killed, *SETTINGS)
    deadline = time.monotonic() + 120
    while not list(killed.glob("checkpoints/*/complete.json")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "encoder.safetensors").exists(), "the run was killed before its end"
    finish(uninterrupted)
    finish(start(tiny_dataset, killed, *SETTINGS))
    return whole, killed


def test_run_folder(runs: tuple[Path, Path]) -> None:
    whole, _ = runs
    names = {path.name for path in whole.iterdir()}
    wanted = "config.yaml ds_config.json metrics.jsonl tensorboard checkpoints encoder.safetensors model_card.md"
    assert names >= set(wanted.split())
    loaded = load_encoder(whole)
    assert loaded.views.size == 32
    assert loaded.metadata["step"] == 8
    assert "| tiny | 64 |" in (whole / "model_card.md").read_text()
    lines = read_metrics(whole / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 8]
    assert {"loss", "pretext_accuracy(%)", "throughput(img/s)", "data_wait(%)", "effective_rank"} <= lines[-1].keys()
    assert sorted(path.name for path in (whole / "checkpoints").glob("step-*")) == ["step-00000006", "step-00000008"]


def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(runs: tuple[Path, Path]) -> None:
    whole, killed = runs
    one, other = load_file(whole / "encoder.safetensors"), load_file(killed / "encoder.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)
    states = [torch.load(run / "checkpoints" / "step-00000008" / "method.pt") for run in runs]
    assert torch.equal(states[0]["negatives"]["keys"], states[1]["negatives"]["keys"])
    assert all(torch.equal(states[0]["key"][name], states[1]["key"][name]) for name in states[0]["key"])
    losses = [[line["loss"] for line in read_metrics(run / "metrics.jsonl")] for run in runs]
    assert losses[0] == losses[1]


def test_training_moved_the_weights(runs: tuple[Path, Path]) -> None:
    before, after = build_encoder("resnet18", seed=0).state_dict(), load_file(runs[0] / "encoder.safetensors")
    assert all(not torch.equal(before[name], after[name]) for name in ("conv1.weight", "bn1.running_mean"))


def test_a_mistake_is_one_line_and_exit_2(tiny_dataset: Path, tmp_path: Path) -> None:
    process = start(tiny_dataset, tmp_path / "run", "--method.queue-size", "65")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("error: method.queue_size 65: larger than the 64 images selected")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", ["0", "2"])
def test_two_processes_under_the_launcher(tiny_dataset: Path, tmp_path: Path, zero_stage: str) -> None:
    launcher = [str(Path(sys.executable).parent / "deepspeed"), "--num_accelerators", "2"]
    settings = ["--run.zero-stage", zero_stage, *SETTINGS]
    finish(start(tiny_dataset, tmp_path / "run", *settings, launcher=launcher))
    assert load_encoder(tmp_path / "run").metadata["step"] == 4
    newest = tmp_path / "run" / "checkpoints" / "step-00000004"
    assert {"rank-00000.pt", "rank-00001.pt"} <= {path.name for path in newest.iterdir()}
    # running statistics are each rank's own
    buffers = [torch.load(newest / f"rank-0000{rank}.pt")["buffers"] for rank in range(2)]
    name = "query.encoder.bn1.running_mean"
    assert not torch.equal(buffers[0][name], buffers[1][name])


@pytest.mark.slow
def test_a_mistake_under_the_launcher_is_said_once(tiny_dataset: Path, tmp_path: Path) -> None:
    launcher = [str(Path(sys.executable).parent / "deepspeed"), "--num_accelerators", "2"]
    process = start(tiny_dataset, tmp_path / "run", "--method.queue-size", "65", launcher=launcher)
    out, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert (out + err).count("error: method.queue_size 65") == 1
    assert "Traceback" not in out + err
