"""``moco-cxr pretrain``, in one process and in several."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import moco_cxr.commands.pretrain
from shards.base.errors import InputError
from tests.conftest import ROOT
from tests.train.runs import SETTINGS, checkpoint_steps, last_step, wait_for
from train.encoders.saved import load_encoder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num-processes", "0"], "--num-processes 0: must be a whole number from 1"),
        (["--num_processes=many"], "--num-processes many: must be"),
        (["--num-processes"], "--num-processes : must be"),
        (["--num-processes", "2", "--num-processes=3"], "--num-processes: is given twice"),
        (["--num-processes", "2", "nothing"], "recipe 'nothing': unknown"),
        (["--num-processes", "2", "debug"], "--data: not given"),
    ],
)
def test_mistakes_are_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch, words: list[str], said: str) -> None:
    monkeypatch.setattr(sys, "argv", ["moco-cxr", *words])
    with pytest.raises(InputError, match=said):
        moco_cxr.commands.pretrain.main()


def test_a_launcher_starts_the_processes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["moco-cxr", "--num-processes", "2", "debug"])
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(InputError, match="--num-processes 2: torchrun starts the processes here"):
        moco_cxr.commands.pretrain.main()


def start(data: Path, output: Path, *settings: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "moco_cxr", "pretrain", "debug", "--data", str(data), "--output", str(output)]
    return subprocess.Popen(
        [*command, *settings],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_one_process_and_several(tiny_dataset: Path, tmp_path: Path) -> None:
    for number, more in ((1, []), (2, ["--num-processes", "2"])):
        process = start(tiny_dataset, tmp_path / str(number), *SETTINGS, *more)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "encoder written to" in out
        assert "Traceback" not in err
        assert load_encoder(tmp_path / str(number)).metadata["step"] == 8 // number


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_it_says_how_it_goes_on(tiny_dataset: Path, tmp_path: Path, number: int) -> None:
    settings = ["--run.epochs", "200", "--run.checkpoint-every", "1000", "--run.log-every", "1"]
    process = start(tiny_dataset, tmp_path / "run", *settings, "--num-processes", "2")
    wait_for(lambda: last_step(tmp_path / "run") >= 2, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == (0 if number != signal.SIGKILL else -signal.SIGKILL), err
    assert "stopped; this continues from step" in out
    assert "Traceback" not in err
    assert len(checkpoint_steps(tmp_path / "run")) == 1
    if number != signal.SIGKILL:
        assert "moco-cxr pretrain debug --data" in out or "-m moco_cxr pretrain debug --data" in out
        assert "--num-processes 2" in out


@pytest.mark.slow
def test_one_process_that_is_lost_ends_all_with_one_line(tiny_dataset: Path, tmp_path: Path) -> None:
    settings = ["--run.epochs", "200", "--run.checkpoint-every", "1000", "--run.log-every", "1"]
    process = start(tiny_dataset, tmp_path / "run", *settings, "--num-processes", "2")
    wait_for(lambda: last_step(tmp_path / "run") >= 2, process)
    ranks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(ranks[1]), signal.SIGKILL)
    begin = time.monotonic()
    _, err = process.communicate(timeout=120)
    assert time.monotonic() - begin < 60
    assert process.returncode not in (0, None)
    assert err.count("error: ") == 1, err
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 2, 4, 8, 14])
def test_an_interrupt_while_the_processes_start_is_told_in_one_line(
    tiny_dataset: Path, tmp_path: Path, seconds: float
) -> None:
    """As Ctrl-C reaches all of them, whether they import, meet or build."""
    process = start(tiny_dataset, tmp_path / "run", "--run.epochs", "1000", "--num-processes", "2")
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err + out, err
    if process.returncode:
        assert process.returncode in (130, -signal.SIGINT), err  # a shell has 130 for both
        assert len([line for line in err.splitlines() if "interrupted" in line]) <= 1, err
        assert "error" not in err
    else:
        assert "stopped; this continues from step" in out, err
