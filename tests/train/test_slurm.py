"""The batch scripts of the docs, with stand-ins for Slurm's commands: a job comes again where its run is to go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.train.runs import checkpoint_steps, last_step

SCRIPTS = sorted((ROOT / "docs" / "slurm").glob("*.sbatch"))
# Starts what it is given as a task of a step, which ends as the task does; or ends by itself where STATUS is set.
SRUN = """#!/bin/sh
echo "srun $*" >> "$LOG"
[ -z "$STATUS" ] || exit "$STATUS"
exec env SLURM_PROCID=0 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=1 SLURM_LOCALID=0 "$@"
"""
SAYS = '#!/bin/sh\necho "$(basename "$0") $*" >> "$LOG"\n[ "$1" != show ] || echo 127.0.0.1\n'
SCANCEL = '#!/bin/sh\necho "scancel $*" >> "$LOG"\nkill -TERM "$(cat "$LOG.pid")"\n'


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With the stand-ins first on the path, and ``moco-cxr`` as it is here."""
    tools = tmp_path / "tools"
    tools.mkdir()
    ours = f'#!/bin/sh\nexec {sys.executable} -m moco_cxr "$@"\n'
    for name, content in {"srun": SRUN, "scontrol": SAYS, "scancel": SCANCEL, "moco-cxr": ours}.items():
        (tools / name).write_text(content)
        (tools / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a", "SLURM_JOB_NUM_NODES": "1", "SLURM_GPUS_ON_NODE": "1"}
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | job | {"PATH": path, "LOG": str(tmp_path / "log"), "OMP_NUM_THREADS": "1", "STATUS": ""}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("status", [0, 2, 75])
def test_only_a_run_that_goes_on_later_is_requeued(script: Path, status: int, environment: dict[str, str]) -> None:
    command = ["bash", str(script), "debug", "--data", "my data"]
    done = subprocess.run(command, env=environment | {"STATUS": str(status)}, check=False, timeout=60)
    assert done.returncode == status
    log = Path(environment["LOG"]).read_text()
    assert "debug --data my data" in log
    assert ("scontrol requeue 7" in log) == (status == 75 and script.stem != "torchrun")


@pytest.mark.slow
@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.stem != "torchrun"], ids=lambda path: path.stem)
def test_a_job_that_is_signalled_comes_again_and_goes_on(
    script: Path, environment: dict[str, str], tiny_dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ["bash", str(script), "debug", "--data", str(tiny_dataset), "--output", str(run), "--run.log-every", "1"]
    command += ["--run.epochs", "40", "--run.checkpoint-every", "1000"]
    with subprocess.Popen(command, env=environment, start_new_session=True) as job:
        deadline = time.monotonic() + 180
        while last_step(run) < 2:
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for pid in children(job.pid):  # as Slurm does: to the step, and not to the batch script
            os.kill(pid, signal.SIGUSR1)
        assert job.wait(120) == os.EX_TEMPFAIL
    assert "scontrol requeue 7" in Path(environment["LOG"]).read_text()
    [step] = checkpoint_steps(run)
    assert 2 <= step < 160
    subprocess.run(command, env=environment, check=True, timeout=300)
    assert (run / "encoder.safetensors").is_file()
    assert Path(environment["LOG"]).read_text().count("requeue") == 1


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
