"""Cells that several processes compute together: started by the deepspeed launcher on this machine, and waited for."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from eval.training.task import Finetuned, Work, read_result, remove_exchange, write_work
from shards.base.errors import InputError
from train.ranks.world import World

_ROOT = Path(__file__).parents[2]


def alone(device: str) -> World:
    """This process by itself on ``device``: ``cpu``, ``cuda``, ``cuda:1``; auto: a GPU if there is one.

    Raises:
        InputError: there is no GPU.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {device}: no CUDA device here; use cpu")
    return World(rank=0, size=1, local_rank=0, device=torch.device(device))


def launch(work: Work, folder: Path, *, mark: str, field: str, device: str) -> Finetuned:
    """The result of ``work`` by ``work.config.num_processes`` processes.

    Args:
        mark: fingerprint of the work.
        field: section of its settings, which errors name.

    Raises:
        InputError: processes have failed, of which each has said why.
        KeyboardInterrupt: it was asked to stop, and has written a checkpoint.
    """
    num_processes = work.config.num_processes
    if (result := read_result(folder, mark)) is None:
        write_work(folder, work)
        status = _run_processes(folder, num_processes, on_cpu=device == "cpu")
        if (result := read_result(folder, mark)) is None:
            if status == 0:
                raise KeyboardInterrupt
            raise InputError(
                f"{field}.num_processes {num_processes}: the processes have failed, see above; repeat the "
                "command, it continues where they were, or use one process"
            )
    remove_exchange(folder)
    remove_empty(folder)
    return result


def remove_empty(folder: Path) -> None:
    """Removes a cell's folder, unless it was never made or holds the model."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _run_processes(folder: Path, num_processes: int, *, on_cpu: bool) -> int:
    """Runs :mod:`eval.grid.process` under the launcher on this machine; its exit status. The launcher's own words go
    nowhere, those of the processes to standard error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_accelerators", str(num_processes)]
    command = [*launcher, "--master_port", str(port), "--module", "eval.grid.process", str(folder.resolve())]
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    if on_cpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:  # which the processes have got as well: they write a checkpoint
            process.wait()
            raise
