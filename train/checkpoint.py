"""Checkpoints from which a run goes on as if it had never stopped.

    checkpoints/step-00000500/
      mp_rank_00_model_states.pt ...   DeepSpeed's: query, optimiser
      method.pt                        key encoder, queue
      rank-00000.pt                    one a rank: running statistics, random state, loss scale
      complete.json                    written last: a folder without it is not a checkpoint

A kill at any moment leaves the checkpoint before the one being written untouched.
"""

import json
import os
import shutil
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.loader import Loader
from shards.errors import InputError
from train.engine import loss_scaler
from train.methods.contract import Method
from train.world import World

_MARK = "complete.json"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: optimiser steps taken and batches consumed."""

    step: int = 0
    batch: int = 0


class Checkpoints:
    """The checkpoints of one run. All ranks call :meth:`save` and :meth:`restore` together.

    Args:
        keep: newest checkpoints to keep.
        data: what was trained on, such as fingerprints; a checkpoint of other data is refused.
    """

    def __init__(self, folder: Path, *, keep: int, data: list[Any], world: World) -> None:
        self.folder, self.keep, self.data, self.world = folder, keep, data, world

    def save(self, progress: Progress, *, engine: Any, method: Method, loader: Loader) -> None:
        """Writes a checkpoint, then drops the oldest beyond ``keep``. Call it between optimiser steps only."""
        folder = self.folder / f"step-{progress.step:08d}"
        if self.world.leads:
            _remove(folder)  # what a killed run left half-written
            folder.mkdir(parents=True)
        self.world.barrier()
        engine.save_checkpoint(str(self.folder), tag=folder.name, save_latest=False)
        own: dict[str, Any] = {"buffers": method.rank_buffers(), "random": torch.get_rng_state()}
        if self.world.device.type == "cuda":
            own["random_cuda"] = torch.cuda.get_rng_state(self.world.device)
        scaler = loss_scaler(engine)
        if scaler is not None:
            own["loss_scaler"] = scaler.state_dict()  # DeepSpeed leaves it out of its own files
        torch.save(own, folder / f"rank-{self.world.rank:05d}.pt")
        if self.world.leads:
            torch.save(method.state_dict(), folder / "method.pt")
        self.world.barrier()
        if self.world.leads:
            mark = {
                **asdict(progress),
                "loader": loader.state_dict(),
                "num_ranks": self.world.size,
                "data": self.data,
                "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
            }
            _write(folder / _MARK, json.dumps(mark, indent=1))
            for old in self._complete()[self.keep :]:
                _remove(old)
        self.world.barrier()

    def restore(self, *, engine: Any, method: Method, loader: Loader) -> Progress:
        """Loads the newest usable checkpoint, if there is one, and says where the run goes on.

        Raises:
            InputError: the checkpoint is of other data or of another number of processes.
        """
        usable = self._complete()
        if not usable:
            return Progress()
        folder = usable[0]
        mark = json.loads((folder / _MARK).read_text())
        if mark["data"] != self.data:
            raise InputError(
                f"--data: not what the run was started on, says {folder}; give the same datasets unchanged, or a new "
                "--output"
            )
        if mark["num_ranks"] != self.world.size:
            raise InputError(
                f"processes {self.world.size}: the run was started with {mark['num_ranks']}, says {folder}; start as "
                "many, or give a new --output"
            )
        engine.load_checkpoint(str(self.folder), tag=folder.name)
        device = self.world.device
        method.load_state_dict(torch.load(folder / "method.pt", map_location=device, weights_only=True))
        own = torch.load(folder / f"rank-{self.world.rank:05d}.pt", map_location="cpu", weights_only=True)
        for name, buffer in method.rank_buffers().items():
            buffer.copy_(own["buffers"][name])
        torch.set_rng_state(own["random"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(own["random_cuda"], device)
        scaler = loss_scaler(engine)
        if scaler is not None:
            scaler.load_state_dict(own["loss_scaler"])
        loader.load_state_dict(mark["loader"])
        return Progress(step=mark["step"], batch=mark["batch"])

    def _complete(self) -> list[Path]:
        """Usable checkpoints, newest first."""
        folders = sorted(self.folder.glob("step-*"), reverse=True)
        return [folder for folder in folders if self._is_complete(folder)]

    def _is_complete(self, folder: Path) -> bool:
        if not (folder / _MARK).is_file():
            return False
        try:
            files = json.loads((folder / _MARK).read_text())["files"]
            is_whole = all((folder / name).stat().st_size == size for name, size in files.items())
        except (OSError, ValueError, KeyError):
            is_whole = False
        if not is_whole:
            warnings.warn(f"checkpoint {folder} is damaged and is passed over", stacklevel=2)
        return is_whole


def _write(path: Path, text: str) -> None:
    """Writes a file so that it is there whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _remove(folder: Path) -> None:
    (folder / _MARK).unlink(missing_ok=True)  # first, so that a kill in between leaves no half checkpoint
    if folder.exists():
        shutil.rmtree(folder)
