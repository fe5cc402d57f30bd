"""A deterministic run that is stopped by SIGTERM and resumed by the launcher, beside the same run as a whole."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from safetensors.torch import load_file

from benchmarks.gpu.job import Job
from train.run.metrics_file import read_metrics

_ROOT = Path(__file__).parents[2]
_ENTRY = str(_ROOT / "train" / "pretrain.py")
_EPOCHS = 2


def run(job: Job) -> None:
    """Exit code 1 where the ends differ."""
    whole, parts = job.work / "whole", job.work / "parts"
    for folder in (whole, parts):
        shutil.rmtree(folder, ignore_errors=True)
    options = _options(job)
    _launch([*options, "--output", str(whole)])
    job.say("by DeepSpeed's launcher, as a whole: done")
    stopped = _stop_at_a_checkpoint([*options, "--output", str(parts)], parts / "checkpoints", job)
    _launch([*options, "--output", str(parts)])
    last = max(line["step"] for line in read_metrics(whole / "metrics.jsonl"))
    one, other = (load_file(folder / "encoder.safetensors") for folder in (whole, parts))
    most = max(float((one[name].double() - other[name].double()).abs().max()) for name in one)
    is_test = 0 < stopped < last
    job.say(
        f"stopped behind step {stopped} of {last} and resumed: "
        + ("bit for bit the weights of the whole run" if most == 0 else f"weights differ, by {most:.3g} at most")
        + ("" if is_test else "; but it was not stopped inside the run, so this says nothing"),
        difference=most,
        stopped_inside=is_test,
    )
    if most or not is_test:
        raise SystemExit(1)


def _options(job: Job) -> list[str]:
    sizes = job.sizes
    own = ["--views.size", sizes.side, "--run.batch-size", sizes.small_batch, "--method.queue-size", sizes.small_queue]
    own += ["--run.epochs", _EPOCHS, "--run.checkpoint-every", sizes.checkpoint_every, "--run.log-every", 10]
    words = ["small_resnet18", "--data", job.data, "--selection.split", "all", "--run.deterministic", *own]
    return [str(word) for word in words]


def _launch(options: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [
        sys.executable,
        "-m",
        "deepspeed.launcher.runner",
        "--num_accelerators",
        "1",
        "--master_port",
        str(port),
    ]
    subprocess.run([*launcher, _ENTRY, *options], check=True, cwd=_ROOT)


def _stop_at_a_checkpoint(options: list[str], checkpoints: Path, job: Job) -> int:
    """Stops a run of plain python soon behind its first checkpoint; returns the step of its last one."""
    process = subprocess.Popen([sys.executable, _ENTRY, *options], cwd=_ROOT)
    while process.poll() is None and not list(checkpoints.glob("step-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    if process.wait():
        raise SystemExit(f"the run that was stopped ended with exit code {process.returncode}")
    step = max((int(path.name.removeprefix("step-")) for path in checkpoints.glob("step-*")), default=0)
    job.say(f"plain python, asked to stop: checkpoint at step {step}")
    return step
