"""One of the processes that fine-tune a cell together: what ``finetune.num_processes`` starts.

    deepspeed --num_accelerators 8 --module eval.grid.process FOLDER
    deepspeed --hostfile HOSTFILE --module eval.grid.process FOLDER      on several machines that share the folder

FOLDER holds the task of a cell that has been started; its result is written there, and the command that started it
takes it from there.
"""

import contextlib
import sys
from pathlib import Path

import torch

from eval.finetune.config import FinetuneConfig, check_finetune
from eval.finetune.run import finetune
from eval.multimodal.run import classify_work
from eval.training.task import Finetuned, Work, fingerprint, read_work, write_result
from shards.base.errors import InputError, run_command
from train.ranks.watchdog import Watchdog, run_together
from train.ranks.world import World, describe_world, share_cores, start_processes


def main() -> None:
    # The launcher puts --local_rank=N before our own arguments; LOCAL_RANK says the same.
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")]
    if len(arguments) != 1:
        raise InputError("folder: give one, deepspeed --module eval.grid.process FOLDER")
    run_together(lambda: _finetune(Path(arguments[0]), describe_world()))


def _finetune(folder: Path, world: World) -> None:
    work = read_work(folder)
    share_cores(world)
    start_processes(world)
    watchdog = Watchdog(world)
    with contextlib.suppress(KeyboardInterrupt):  # a checkpoint has been written
        result, mark = _result(work, folder, world)
        if world.leads:
            write_result(folder, result, mark)
    watchdog.close()
    world.barrier()
    torch.distributed.destroy_process_group()


def _result(work: Work, folder: Path, world: World) -> tuple[Finetuned, str]:
    if not isinstance(work.config, FinetuneConfig):
        return classify_work(work, folder, world=world, title=folder.name)
    assert work.start is not None, "images are fine-tuned from some encoder"
    check_finetune(work.config)
    mark = fingerprint(work.task, work.start, work.config)
    return finetune(work.start, work.task, work.config, folder, world=world, title=folder.name), mark


if __name__ == "__main__":
    run_command(main)
