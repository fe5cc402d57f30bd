"""End-to-end fine-tuning of one cell of a comparison: an encoder, a label draw, the logits that come out.

In one process on one device, or in several that share each batch, under the deepspeed launcher. An interrupted cell
goes on from its folder's checkpoint, whatever the number of processes.
"""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from eval.finetune_config import FinetuneConfig, check_finetune
from eval.finetune_task import (
    Finetuned,
    FinetuneTask,
    fingerprint,
    read_result,
    remove_exchange,
    write_task,
)
from eval.finetune_train import finetune
from shards.errors import InputError
from train.export import LoadedEncoder
from train.world import World

_ROOT = Path(__file__).parents[1]


def run_finetune(
    start: LoadedEncoder,
    task: FinetuneTask,
    config: FinetuneConfig,
    folder: Path,
    *,
    device: str = "auto",
    title: str = "",
) -> Finetuned:
    """Fine-tunes a copy of ``start`` with a linear head for all labels of the task.

    Args:
        start: the encoder, its name and the views it was trained on.
        folder: of this cell alone: checkpoints while it runs and, by ``keep_model``, the model it ends with.
        device: ``cpu``, ``cuda``, ``cuda:1``; auto: a GPU if there is one. Several processes take the GPUs in turn.
        title: of the progress bar.

    Raises:
        InputError: settings out of range, a label with one class in the draw, an absent device, a loss that is not
            finite, or processes that failed, of which each has said why.
        KeyboardInterrupt: it was asked to stop, and has written a checkpoint.
    """
    check_finetune(config)
    task.check()
    if config.num_processes > 1:
        return _launch(start, task, config, folder, device=device)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {device}: no CUDA device here; use cpu")
    world = World(rank=0, size=1, local_rank=0, device=torch.device(device))
    result = finetune(start, task, config, folder, world=world, title=title)
    _remove_empty(folder)
    return result


def _launch(
    start: LoadedEncoder, task: FinetuneTask, config: FinetuneConfig, folder: Path, *, device: str
) -> Finetuned:
    mark = fingerprint(task, start, config)
    if (result := read_result(folder, mark)) is None:
        write_task(folder, task, start, config)
        status = _run_processes(folder, config.num_processes, on_cpu=device == "cpu")
        if (result := read_result(folder, mark)) is None:
            if status == 0:
                raise KeyboardInterrupt
            raise InputError(
                f"finetune.num_processes {config.num_processes}: the processes have failed, see above; repeat the "
                "command, it continues where they were, or use one process"
            )
    remove_exchange(folder)
    _remove_empty(folder)
    return result


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # never made, or holds the model
        folder.rmdir()


def _run_processes(folder: Path, num_processes: int, *, on_cpu: bool) -> int:
    """Runs :mod:`eval.finetune_cell` under the launcher on this machine; its exit status. The launcher's own words go
    nowhere, those of the processes to standard error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_accelerators", str(num_processes)]
    command = [*launcher, "--master_port", str(port), "--module", "eval.finetune_cell", str(folder.resolve())]
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
