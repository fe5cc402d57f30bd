"""Whole runs under the ``deepspeed`` launcher, on the tiny dataset."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.train.processes import free_port
from tests.train.runs import (
    ENTRY,
    SETTINGS,
    checkpoint_steps,
    finish,
    last_step,
    start,
    wait_for,
)
from train.encoders.saved import load_encoder


def two_under_the_launcher() -> list[str]:
    command = Path(sys.executable).parent / "deepspeed"
    return [str(command), "--num_accelerators", "2", "--master_port", str(free_port())]


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", ["0", "2"])
def test_two_processes_under_the_launcher(tiny_dataset: Path, tmp_path: Path, zero_stage: str) -> None:
    settings = ["--run.zero-stage", zero_stage, *SETTINGS]
    finish(start(tiny_dataset, tmp_path / "run", *settings, launcher=two_under_the_launcher()))
    assert load_encoder(tmp_path / "run").metadata["step"] == 4
    newest = tmp_path / "run" / "checkpoints" / "step-00000004"
    assert {"rank-00000.pt", "rank-00001.pt"} <= {path.name for path in newest.iterdir()}
    # running statistics are each rank's own
    buffers = [torch.load(newest / f"rank-0000{rank}.pt")["buffers"] for rank in range(2)]
    name = "model.encoder.bn1.running_mean"
    assert not torch.equal(buffers[0][name], buffers[1][name])


@pytest.mark.slow
def test_a_mistake_under_the_launcher_is_said_once(tiny_dataset: Path, tmp_path: Path) -> None:
    process = start(tiny_dataset, tmp_path / "run", "--method.queue-size", "65", launcher=two_under_the_launcher())
    out, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert (out + err).count("error: --method.queue-size 65") == 1
    assert "Traceback" not in out + err


@pytest.mark.slow
@pytest.mark.parametrize("to", ["group", "launcher", "command"])
def test_stopping_under_the_launcher(tiny_dataset: Path, tmp_path: Path, to: str) -> None:
    """Ctrl-C reaches the whole group; a scheduler's SIGTERM may reach the launcher alone, or only the command."""
    settings = ["--run.epochs", "200", "--run.checkpoint-every", "1000", "--run.log-every", "1"]
    launcher = two_under_the_launcher()
    process = start(tiny_dataset, tmp_path / "run", *settings, launcher=launcher)
    wait_for(lambda: last_step(tmp_path / "run") >= 2, process)
    stopped = time.monotonic()
    if to == "group":
        os.killpg(process.pid, signal.SIGINT)
    else:
        pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(pids[0]) if to == "launcher" else process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)  # until all ranks have closed their output
    assert time.monotonic() - stopped < 30
    assert "stopped; this continues from step" in out, err
    assert f"deepspeed {' '.join(launcher[1:])} {ENTRY} debug" in out
    assert len(checkpoint_steps(tmp_path / "run")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "seconds"), [(signal.SIGKILL, 30), (signal.SIGSTOP, 60)])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_lost_under_the_launcher_ends_all(
    tiny_dataset: Path, tmp_path: Path, rank: int, number: int, seconds: float
) -> None:
    settings = ["--run.epochs", "200", "--run.checkpoint-every", "1000", "--run.log-every", "1"]
    process = start(tiny_dataset, tmp_path / "run", *settings, launcher=two_under_the_launcher())
    wait_for(lambda: last_step(tmp_path / "run") >= 2, process)
    (above,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = Path(f"/proc/{above}/task/{above}/children").read_text().split()
    os.kill(int(ranks[rank]), number)
    failed = time.monotonic()
    out, err = process.communicate(timeout=120)
    print(f"all ended after {time.monotonic() - failed:.1f} s: {err[-600:]}")
    assert time.monotonic() - failed < seconds
    assert process.returncode != 0
    assert (out + err).count("error: ") == 1, out + err
    assert "Traceback" not in out + err


@pytest.mark.slow
def test_a_hostfile_that_is_not_there_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    launcher = [*two_under_the_launcher(), "--hostfile", str(tmp_path / "hosts")]
    process = start(tiny_dataset, tmp_path / "run", *SETTINGS, launcher=launcher)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert (out + err).count(f"error: --hostfile {tmp_path / 'hosts'}: no such file") == 1
    assert not (tmp_path / "run").exists()
