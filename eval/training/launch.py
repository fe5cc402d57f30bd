"""Where a training runs: in this process, or in several that are started on this machine.

What is trained is the caller's business, whose module says how and is run in each of those processes, as launchers can
do also:

    deepspeed --num_accelerators 8 --module eval.finetune.run FOLDER
    deepspeed --hostfile HOSTFILE --module eval.finetune.run FOLDER      on several machines that share the folder

FOLDER holds the work of a cell that has been started; its result is written there, and the command that started it
takes it from there.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Protocol

import torch

from eval.training.exchange import read_result, read_work, remove_exchange, write_result, write_work
from eval.training.task import Config, Trained, Work
from pipeline.device import find_device
from shards.base.errors import InputError, run_command
from train.ranks.launch import run_processes
from train.ranks.watchdog import Watchdog, run_together
from train.ranks.world import World, describe_world, share_cores, start_processes


class Train(Protocol[Config]):
    """Does the work in this process among those of ``world``, all of which call it together."""

    def __call__(self, work: Work[Config], folder: Path, *, world: World, title: str) -> Trained: ...


def run_work(
    work: Work[Config], folder: Path, train: Train[Config], *, module: str, device: str, title: str
) -> Trained:
    """The result of the work, by as many processes as its settings say.

    Args:
        folder: of this cell alone: checkpoints while it runs, and the model if it is to be kept.
        module: that calls :func:`run_process` with ``train``, where it is the program.
        device: ``cpu``, ``cuda``, ``cuda:1``; auto: a GPU if there is one. Several processes take the first GPUs, of
            those in CUDA_VISIBLE_DEVICES where it is set.
        title: of the progress bar.

    Raises:
        InputError: an absent device, or processes that have failed, of which each has said why.
        KeyboardInterrupt: it was asked to stop, and has written a checkpoint.
    """
    if work.config.num_processes == 1:
        result = train(work, folder, world=_alone(find_device(device, field="--device")), title=title)
    else:
        result = _launch(work, folder, module, device=device)
    with contextlib.suppress(OSError):  # was never made, or holds the model
        folder.rmdir()
    return result


def run_process(train: Train[Config], kind: type[Config]) -> None:
    """The program of one of several processes, whose work has settings of that kind."""
    run_command(lambda: run_together(lambda: _run_rank(train, kind)))


def _run_rank(train: Train[Config], kind: type[Config]) -> None:
    # The launcher puts --local_rank=N before our own arguments; LOCAL_RANK says the same.
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")]
    if len(arguments) != 1:
        raise InputError("folder: give one, that of a cell that has been started")
    folder, world = Path(arguments[0]), describe_world()
    work = read_work(folder, kind)
    start_processes(world)
    share_cores(world)
    watchdog = Watchdog(world)
    with contextlib.suppress(KeyboardInterrupt):  # a checkpoint has been written
        result = train(work, folder, world=world, title=folder.name)
        if world.leads:
            write_result(folder, result, work.mark)
    watchdog.close()
    torch.distributed.destroy_process_group()


def _alone(device: torch.device) -> World:
    return World(rank=0, size=1, local_rank=device.index or 0, device=device)


def _launch(work: Work[Config], folder: Path, module: str, *, device: str) -> Trained:
    num_processes = work.config.num_processes
    devices = choose_devices(num_processes, device=device)
    if (result := read_result(folder, work.mark)) is None:
        write_work(folder, work)
        chosen = {} if devices is None else {"CUDA_VISIBLE_DEVICES": devices}
        if devices:
            print(f"{num_processes} processes on GPUs {devices}", file=sys.stderr)
        program = ["-m", module, str(folder.resolve())]
        status = run_processes(program, num_processes, environment=os.environ | chosen, is_quiet=True)
        if (result := read_result(folder, work.mark)) is None:
            if status == 0:
                raise KeyboardInterrupt
            raise InputError(
                f"{work.config.section}.num_processes {num_processes}: the processes have failed, see above; repeat "
                "the command, it continues where they were, or use one process"
            )
    remove_exchange(folder)
    return result


def choose_devices(num_processes: int, *, device: str) -> str | None:
    """What CUDA_VISIBLE_DEVICES is to be for so many processes, each with a GPU of its own; None as it is.

    Raises:
        InputError: fewer GPUs than processes are chosen.
    """
    if device.startswith("cuda:"):
        raise InputError(
            f"--device {device}: is one GPU, for {num_processes} processes; use cuda, and choose GPUs with "
            "CUDA_VISIBLE_DEVICES"
        )
    if device == "cpu" or not torch.cuda.is_available():
        return ""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return None
    names = [name.strip() for name in chosen.split(",")]
    if len(names) < num_processes:
        raise InputError(
            f"CUDA_VISIBLE_DEVICES {chosen}: {len(names)} GPU(s) for {num_processes} processes; choose more GPUs, "
            "or fewer processes"
        )
    return ",".join(names[:num_processes])
