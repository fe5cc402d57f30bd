"""Whole runs over the command line, on the tiny dataset."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.train.runs import (
    ENTRY,
    SETTINGS,
    WATCHING,
    assert_equal_ends,
    checkpoint_steps,
    finish,
    last_step,
    start,
    start_run_on_ranks,
    wait_for,
)
from train.encoders.build import build_encoder
from train.encoders.file import FILES, read_encoder_file
from train.encoders.saved import load_encoder
from train.encoders.seen import load_seen
from train.run.metrics_file import read_metrics


@pytest.fixture(scope="module")
def runs(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that was never interrupted, and one that was killed after its first checkpoint and then repeated; the
    second watches kNN AUROC besides, which must not change what is learnt."""
    folder = tmp_path_factory.mktemp("runs")
    whole, killed = folder / "whole", folder / "killed"
    uninterrupted = start(tiny_dataset, whole, *SETTINGS)
    process = start(tiny_dataset, killed, *SETTINGS, *WATCHING)
    wait_for(lambda: list(killed.glob("checkpoints/step-????????")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "encoder.safetensors").exists(), "the run was killed before its end"
    finish(uninterrupted)
    finish(start(tiny_dataset, killed, *SETTINGS, *WATCHING))
    return whole, killed


def test_run_folder(runs: tuple[Path, Path]) -> None:
    whole, _ = runs
    names = {path.name for path in whole.iterdir()}
    wanted = "config.yaml ds_config.json metrics.jsonl tensorboard checkpoints encoder.safetensors model_card.md"
    assert names >= set(wanted.split())
    loaded = load_encoder(whole)
    assert loaded.views.size == 32
    assert loaded.metadata["step"] == 8
    assert [*loaded.metadata["trained_on"].values()] == [["train"]]
    seen = load_seen(whole / "encoder.safetensors", loaded.metadata)
    assert (seen.images.size, seen.patients.size, seen.trained_on) == (64, 0, {})
    assert "| tiny | 64 |" in (whole / "model_card.md").read_text()
    lines = read_metrics(whole / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 8]
    assert {"loss", "pretext_accuracy(%)", "throughput(img/s)", "data_wait(%)", "effective_rank"} <= lines[-1].keys()
    assert sorted(path.name for path in (whole / "checkpoints").glob("step-*")) == ["step-00000006", "step-00000008"]


def test_a_checkpoint_is_the_encoder_of_its_step(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = shutil.copytree(runs[0], tmp_path / "run")
    (unfinished / "encoder.safetensors").unlink()
    whole = read_encoder_file(runs[0])
    for step in (6, 8):
        file = read_encoder_file(unfinished / "checkpoints" / f"step-{step:08d}")
        assert file.metadata == whole.metadata | {"step": step}
        assert file.tensors.keys() == whole.tensors.keys()
        assert all(torch.equal(value, whole.tensors[name]) for name, value in file.tensors.items()) == (step == 8)
        assert load_seen(file.path, file.metadata).images.size == 64
    assert not capsys.readouterr().err, "it is known what was seen"


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("stage", ["0", "1", "2"])
def test_the_last_checkpoint_is_what_the_run_leaves(tiny_dataset: Path, tmp_path: Path, stage: str, size: int) -> None:
    settings = ["--run.epochs", "1", "--run.zero-stage", stage, "--run.export-key"]
    for process in start_run_on_ranks(tiny_dataset, tmp_path, *settings, size=size):
        finish(process)
    step = checkpoint_steps(tmp_path)[-1]
    for which in FILES:
        own, last = (read_encoder_file(path, which) for path in (tmp_path, tmp_path / f"checkpoints/step-{step:08d}"))
        assert last.metadata == own.metadata
        assert last.tensors.keys() == own.tensors.keys()
        assert all(torch.equal(last.tensors[name], value) for name, value in own.tensors.items())


def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(runs: tuple[Path, Path]) -> None:
    assert_equal_ends(*runs, step=8)
    losses = [[line["loss"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line] for run in runs]
    assert losses[0] == losses[1]


def test_knn_auroc_is_measured_once_an_epoch_across_a_kill(runs: tuple[Path, Path]) -> None:
    measured = [line for line in read_metrics(runs[1] / "metrics.jsonl") if "knn_auroc/blob" in line]
    assert [line["epoch"] for line in measured] == [0, 1, 2]
    assert [line["step"] for line in measured] == [0, 4, 8]


@pytest.mark.slow
def test_a_longer_run_goes_on_to_the_weights_of_one_that_was_as_long_from_its_start(
    runs: tuple[Path, Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    """Under a constant rate, where the schedules agree. What is finished says so."""
    settings = ["--schedule.name", "constant", "--run.checkpoint-every", "3"]
    finish(start(tiny_dataset, tmp_path / "longer", *settings, "--run.epochs", "1"))
    whole = start(tiny_dataset, tmp_path / "whole", *settings, "--run.epochs", "2")
    out, _ = finish(start(tiny_dataset, tmp_path / "longer", *settings, "--run.epochs", "2"))
    assert "continues from step 4 of 8 (epoch 1 of 2)\nrun.epochs 2, before: 1: from here on by the schedule" in out
    assert "nothing loaded" not in out
    first, _ = finish(whole)
    assert "nothing loaded" in first
    assert "continues from" not in first
    assert_equal_ends(tmp_path / "whole", tmp_path / "longer", step=8)
    again, _ = finish(start(tiny_dataset, runs[0], *SETTINGS))
    assert "finished: all 8 steps of 2 epochs are done; to train for longer, repeat the command with" in again


def test_training_moved_the_weights(runs: tuple[Path, Path]) -> None:
    before, after = build_encoder("resnet18", seed=0).state_dict(), load_file(runs[0] / "encoder.safetensors")
    assert all(not torch.equal(before[name], after[name]) for name in ("conv1.weight", "bn1.running_mean"))


def test_a_mistake_is_one_line_and_exit_2(tiny_dataset: Path, tmp_path: Path) -> None:
    process = start(tiny_dataset, tmp_path / "run", "--method.queue-size", "65")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("error: --method.queue-size 65: larger than the 64 images selected")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


HEAVY = ("torch", "torchvision", "nvidia.dali", "deepspeed", "matplotlib", "sklearn", "pyarrow")
PROBE = f"""
import atexit, runpy, sys
atexit.register(lambda: print("imported:", *(name for name in {HEAVY} if name in sys.modules)))
sys.argv = [{str(ENTRY)!r}, *sys.argv[1:]]
runpy.run_path({str(ENTRY)!r}, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["debug", "--help"], 0, "--run.batch-size"),
        (["debug", "--data", "d", "--output", "o", "--run.epochs", "0"], 2, "error: --run.epochs 0: "),
        (["debug", "--data", "d", "--output", "o", "--run.zero-stage", "3"], 2, "error: --run.zero-stage 3: "),
        (["debug", "--output", "o"], 2, "error: --data: not given"),
    ],
)
def test_help_and_mistakes_in_the_arguments_import_nothing_heavy(arguments: list[str], status: int, said: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert process.returncode == status, process.stderr
    assert said in process.stdout + process.stderr
    assert process.stdout.splitlines()[-1] == "imported:"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_and_says_how_to_go_on(
    tiny_dataset: Path, tmp_path: Path, runs: tuple[Path, Path], number: int
) -> None:
    settings = [*SETTINGS, "--run.log-every", "1"]
    process = start(tiny_dataset, tmp_path / "run", *settings)
    wait_for(lambda: last_step(tmp_path / "run") >= 1, process)
    os.kill(process.pid, number)
    out, err = finish(process)
    (step,) = [int(word) for word in out.split() if word.isdigit() and f"from step {word} of 8" in out][:1]
    assert checkpoint_steps(tmp_path / "run")[-1] == step < 8
    assert "asked to stop" in err
    assert "Traceback" not in err
    command = out.splitlines()[-1]
    assert command.startswith(f"CUDA_VISIBLE_DEVICES= python {ENTRY} debug --data {tiny_dataset}")
    finish(start(tiny_dataset, tmp_path / "run", *settings))
    assert_equal_ends(runs[0], tmp_path / "run", step=8)


@pytest.mark.slow
def test_twenty_kills_end_in_the_same_weights(tiny_dataset: Path, tmp_path: Path) -> None:
    settings = ["--run.epochs", "20", "--run.checkpoint-every", "2", "--run.log-every", "1"]  # 80 steps
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    draw = random.Random(0)
    uninterrupted = start(tiny_dataset, whole, *settings)
    for _ in range(20):
        process = start(tiny_dataset, killed, *settings)
        aim = last_step(killed) + draw.randrange(3)  # a kill by SIGKILL goes back to the checkpoint before
        wait_for(lambda aim=aim: last_step(killed) >= aim, process)  # type: ignore[misc]
        time.sleep(draw.random() / 4)
        number = draw.choice([signal.SIGKILL, signal.SIGTERM])
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=120)
        assert process.returncode in (-signal.SIGKILL, -signal.SIGTERM, 0), err
        assert not (killed / "encoder.safetensors").exists(), "the run was killed before its end"
    finish(start(tiny_dataset, killed, *settings))
    finish(uninterrupted)
    assert_equal_ends(whole, killed, step=80)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("stage", ["0", "2"])
def test_resuming_on_another_number_of_ranks(
    tiny_dataset: Path, tmp_path: Path, before: int, after: int, stage: str
) -> None:
    """Half of the run's images are seen by the one number of processes, and half by the other."""
    settings = ["--run.epochs", "2", "--run.checkpoint-every", "1", "--run.log-every", "1", "--run.zero-stage", stage]
    first = start_run_on_ranks(tiny_dataset, tmp_path / "run", *settings, size=before)
    wait_for(lambda: last_step(tmp_path / "run") >= 1, *first)
    first[-1].send_signal(signal.SIGTERM)  # to one rank only
    for process in first:
        finish(process)
    step = checkpoint_steps(tmp_path / "run")[-1]
    seen = json.loads((tmp_path / "run" / "checkpoints" / f"step-{step:08d}" / "complete.json").read_text())["loader"]
    second = start_run_on_ranks(tiny_dataset, tmp_path / "run", *settings, size=after)
    outputs = [finish(process) for process in second]
    assert f"goes on with {after} process(es) instead of {before}" in outputs[0][1]
    left = 2 * 64 - (64 * seen["epoch"] + seen["position"])
    assert load_encoder(tmp_path / "run").metadata["step"] == step + left // (16 * after)
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["epoch"] == 2


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(tiny_dataset: Path, tmp_path: Path) -> None:
    settings = ["--optimizer.lr", "1e30", "--run.epochs", "4", "--run.log-every", "3"]
    process = start(tiny_dataset, tmp_path / "run", *settings)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 2
    assert "error: loss: not finite at step 2 on rank 0, images " in err
    assert "Traceback" not in err
    assert len(json.loads((tmp_path / "run" / "nonfinite.json").read_text())["keys"]) == 16
    assert checkpoint_steps(tmp_path / "run") == [], "what is not finite is never a checkpoint"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", ["0", "1", "2"])
def test_stages_and_precisions_resume_to_the_bit(
    tiny_dataset: Path, tmp_path: Path, stage: str, precision: str
) -> None:
    settings = [*SETTINGS, "--run.zero-stage", stage, "--run.precision", precision, "--run.check-ranks", "1"]
    settings += ["--run.log-every", "1"]
    whole = start_run_on_ranks(tiny_dataset, tmp_path / "whole", *settings)  # 4 steps
    for process in whole:
        finish(process)
    killed = start_run_on_ranks(tiny_dataset, tmp_path / "killed", *settings)
    wait_for(lambda: last_step(tmp_path / "killed") >= 1, *killed)
    killed[0].send_signal(signal.SIGTERM)
    for process in killed:
        finish(process)
    assert checkpoint_steps(tmp_path / "killed")[-1] < 4
    for process in start_run_on_ranks(tiny_dataset, tmp_path / "killed", *settings):
        finish(process)
    assert_equal_ends(tmp_path / "whole", tmp_path / "killed", step=4)


@pytest.mark.slow
def test_batches_that_make_no_whole_step_are_told(tiny_dataset: Path, tmp_path: Path) -> None:
    out, _ = finish(start(tiny_dataset, tmp_path, *SETTINGS, "--run.gradient-accumulation", "3"))
    assert "note: the last 2 batches make no whole step of 3, and are left out" in out
    assert torch.load(tmp_path / "checkpoints" / "step-00000002" / "state.pt")
