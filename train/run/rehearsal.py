"""A run that is not one: all its checks, what it would be, and what its first steps take in time and memory."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from pipeline.loader import Batch, Loader
from pipeline.preview import batch_sheet
from shards.base.dataclass_io import to_yaml
from shards.base.errors import InputError, writing
from shards.base.words import as_duration, as_size
from shards.checks.preview import save_sheet
from train.checkpoints.place import FOLDER, step_folders
from train.engine.kernels import choose_kernels
from train.ranks.world import describe_world, share_cores, start_processes
from train.run.data import training_loader
from train.run.findings import look, tell
from train.run.monitor import peak_memory_bytes
from train.run.writer import Writer
from train.settings.config import PretrainConfig
from train.trainer import Trainer, start_trainer

_MOST_BATCHES, _MOST_SECONDS = 8, 20.0  # measured, behind a first one that warms up


def rehearse(config: PretrainConfig, *, num_processes: int, preview: Path | None = None) -> None:
    """Does for a checked ``config`` all that a run does before its first checkpoint, in this process alone and on
    weights that are thrown away, and prints what the run would be. No folder is left.

    Args:
        num_processes: of the run. A few steps of one of them are taken, with its share of the images.
        preview: picture to write of the views of the first batch.

    Raises:
        InputError: whatever would end the run at its start.
    """
    world = replace(describe_world(), size=num_processes)
    if not world.leads:
        return
    alone, here = replace(world, size=1), config
    if num_processes > 1 and config.norm.strategy == "shuffle":  # for which one process is too few
        here = replace(config, norm=replace(config.norm, strategy="auto"))
    found = look(config, world)
    _try_folder(config)
    start_processes(alone)
    with contextlib.ExitStack() as ends:
        ends.callback(torch.distributed.destroy_process_group)
        share_cores(alone)
        choose_kernels(deterministic=config.run.deterministic)
        loader = training_loader(here, found.index, alone)
        ends.callback(loader.close)
        trainer = start_trainer(here, found.index, alone, batches_per_epoch=len(loader), ds_config=found.ds_config)
        print(to_yaml(config))
        tell(config, found, loader, trainer.method.model.encoder, world)
        batches = iter(loader)
        first = next(batches)
        if preview is not None:
            rows = found.index.take(found.index.positions(first.rows))
            sheet = batch_sheet([view.cpu() for view in first.views], rows.column("key").tolist(), config.views)
            save_sheet(sheet, preview)
        taken = _take_steps(trainer, chain([first], batches), alone.device)
        print("\n".join(_lines(config, trainer, loader, taken, num_rows=len(found.index), num_processes=num_processes)))
        if preview is not None:
            print(f"written: {preview}")
        print("dry run: nothing was trained, and no run folder was written")


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """Batches that were measured, in how much time, and how long the loader kept them waiting."""

    num_batches: int
    seconds: float
    first_seconds: float


def _take_steps(trainer: Trainer, batches: Iterable[Batch], device: torch.device) -> _Taken:
    begin = first = time.perf_counter()
    num_batches = 0
    for number, batch in enumerate(batches):
        trainer.step(batch.views, batch.rows)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if not number:
            first = time.perf_counter()
        num_batches = number
        if number and (number >= _MOST_BATCHES or time.perf_counter() - first > _MOST_SECONDS):
            break
    return _Taken(num_batches=num_batches, seconds=time.perf_counter() - first, first_seconds=first - begin)


def _lines(
    config: PretrainConfig, trainer: Trainer, loader: Loader, taken: _Taken, *, num_rows: int, num_processes: int
) -> list[str]:
    """What the run would be, in words."""
    run = config.run
    per_epoch = num_rows // (run.batch_size * num_processes)
    num_batches = run.epochs * per_epoch
    num_steps = num_batches // run.gradient_accumulation
    lines = [
        f"images: {num_rows:,}, of which an epoch takes {per_epoch * run.batch_size * num_processes:,}",
        f"steps: {num_steps:,}, of {run.batch_size * num_processes * run.gradient_accumulation:,} images each; "
        f"{run.epochs} epochs",
    ]
    assert config.output is not None
    before = next(iter(step_folders(config.output / FOLDER)), None)
    if before is not None:
        lines.append(f"goes on: {config.output} has a run of these settings, with a checkpoint {before.name}")
    among = f"; what {num_processes} processes exchange comes on top" if num_processes > 1 else ""
    if taken.num_batches:
        seconds = taken.seconds / taken.num_batches
        lines.append(
            f"time: about {as_duration(taken.first_seconds + num_batches * seconds)}, at {seconds:.3g} s a batch "
            f"({run.batch_size * num_processes / seconds:,.0f} images/s), measured on {taken.num_batches} after a "
            f"first of {taken.first_seconds:.3g} s; without checkpoints and kNN{among}"
        )
    else:
        lines.append(f"time: {as_duration(taken.first_seconds)} for the only batch, measured")
    device = trainer.method.world.device
    where = "GPU memory that torch took" if device.type == "cuda" else "memory of this process"
    pixels = ", and decoded pixels come on top during the first epoch" if loader.choice.name == "resident" else ""
    lines.append(
        f"memory: {as_size(peak_memory_bytes(device))}, the most {where}, measured on the same batches{pixels}"
    )
    return [*lines, _disk(config, trainer)]


def _disk(config: PretrainConfig, trainer: Trainer) -> str:
    """What checkpoints take, computed from the state, beside what is free."""
    states = (value for state in trainer.engine.optimizer.state.values() for value in state.values())
    tensors = [*trainer.method.state_dict().values(), *states]
    size = sum(each.numel() * each.element_size() for each in tensors if isinstance(each, Tensor))
    most = config.run.keep_checkpoints + config.run.keep_best + 1
    free = shutil.disk_usage(_ancestor(config)).free
    told = f"disk: {as_size(most * size)} for {most} checkpoints of {as_size(size)}, computed; {as_size(free)} are free"
    return told if free > most * size else f"{told}: NOT ENOUGH; lower run.keep_checkpoints, or give another --output"


def _try_folder(config: PretrainConfig) -> None:
    """Whether the run folder can be written, and no other run is writing it.

    Raises:
        InputError: it cannot, or one is.
    """
    folder = config.output
    assert folder is not None
    if folder.is_dir():
        with Writer(folder).hold():
            return
    with writing(folder), tempfile.TemporaryDirectory(dir=_ancestor(config), prefix=".dry-run-"):
        pass


def _ancestor(config: PretrainConfig) -> Path:
    """The run folder, or the nearest folder above it that is there."""
    assert config.output is not None
    path = config.output.absolute()
    folder = next(each for each in (path, *path.parents) if each.exists())
    if not folder.is_dir():
        raise InputError(f"--output {config.output}: {folder} is a file; give a folder")
    return folder
