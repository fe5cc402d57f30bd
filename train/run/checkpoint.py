"""Checkpoints from which a run goes on as if it had never stopped.

    checkpoints/step-00000500/
      state.pt         what all ranks have alike: the method (weights, momentum copy, queue), and the optimiser
      rank-00000.pt    one a rank: running statistics, random state, loss scale
      complete.json    where the run was, with the checksum of each file

A kill at any moment leaves the checkpoint before untouched (:mod:`train.checkpoints.snapshot`). Nothing in ``state.pt``
depends on the number of ranks or on the ZeRO stage, so a run may go on with others; its ranks then all start from the
average of the old ranks' running statistics and with new random states. The encoder in it can be used by itself
(:mod:`train.encoders.checkpoint`).
"""

import math
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.loader import Loader
from pipeline.ranks import gather
from shards.base.atomic import begin_folder, part_of
from shards.base.errors import InputError
from shards.base.words import reason_of
from train.checkpoints.mark import read_run_mark
from train.checkpoints.place import step_folder, step_folders
from train.checkpoints.snapshot import BrokenSnapshot, num_bytes, read_tensors, remove, seal, write_tensors
from train.engine.deepspeed import loss_scaler
from train.engine.optimizer_state import load_optimizer_state, optimizer_state
from train.ranks.world import World
from train.trainer import Progress, Trainer


class Checkpoints:
    """The checkpoints of one run. All ranks call its methods together.

    Args:
        keep: newest checkpoints to keep.
        keep_best: checkpoints of the highest scores to keep besides.
        names: what the run is of, such as ``{"method": "moco_v2"}``; a checkpoint of another is refused.
        data: what is trained on, such as fingerprints; a checkpoint of other data is refused.
        num_images: of an epoch.
        header: of the encoder (:func:`train.encoders.saved.encoder_header`); without it, checkpoints are for going on
            alone.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int,
        keep_best: int,
        data: list[Any],
        num_images: int,
        names: dict[str, str],
        world: World,
        header: Mapping[str, Any] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.keep, self.keep_best, self.world = folder, keep, keep_best, world
        self.data, self.num_images, self.names, self.header, self.check = data, num_images, names, header, check
        self.last: Path | None = None
        """The newest checkpoint that was written or read."""
        if world.leads:
            for part in folder.glob("step-*.part*"):  # in .partial ended what earlier versions left
                shutil.rmtree(part)

    def save(self, trainer: Trainer, loader: Loader, *, score: float | None = None) -> bool:
        """Writes a checkpoint, then drops old ones. Call it between optimiser steps only.

        Where it cannot be written, as on a full disk, the run may go on with the one before: a warning says so.

        Args:
            score: how good the model is, on the leading rank; higher is better, None where it is not known.

        Returns:
            whether it was written.

        Raises:
            InputError: it cannot be written, and there is none to go back to.
        """
        world, method, progress = self.world, trainer.method, trainer.progress
        folder = step_folder(self.folder, progress.step)
        part = part_of(folder)
        optimizer = optimizer_state(trainer.engine, method.model, world)
        state = {"method": method.shared_state(), "optimizer": optimizer}
        own: dict[str, Any] = {"buffers": method.rank_state(), "random": torch.get_rng_state()}
        if world.device.type == "cuda":
            own["random_cuda"] = torch.cuda.get_rng_state(world.device)
        scaler = loss_scaler(trainer.engine)
        if scaler is not None:
            own["loss_scaler"] = scaler.state_dict()
        mark = {
            **asdict(progress),
            **self.names,
            "loader": loader.state_dict(),
            "num_ranks": world.size,
            "data": self.data,
            "score": score if score is not None and math.isfinite(score) else None,  # JSON has no word for it
        }
        if self.header is not None:
            mark["header"] = {**self.header, "step": progress.step}
        failure = self._first(_failure(lambda: begin_folder(folder)) if world.leads else "")
        if not failure:
            failure = _failure(lambda: write_tensors(part / f"rank-{world.rank:05d}.pt", own))
            if world.leads and not failure:
                failure = _failure(lambda: write_tensors(part / "state.pt", state))
            failure = self._first(failure)
        if not failure:
            if world.leads:
                self.check()  # writing took its time
            failure = self._first(_failure(lambda: seal(folder, mark)) if world.leads else "")
        if failure:
            self._give_up(part, failure, size=num_bytes(state) + world.size * num_bytes(own))
            return False
        self.last = folder
        if world.leads:
            self._prune(progress.step)
        world.barrier()
        return True

    def restore(self, trainer: Trainer, loader: Loader) -> None:
        """Loads the newest usable checkpoint, if there is one; the trainer's progress says where the run goes on.

        Raises:
            InputError: the checkpoint is of other data, another method or another encoder, or none can be read.
        """
        candidates = step_folders(self.folder)
        if self.world.size > 1:
            candidates = gather(candidates)[0]
        for folder in candidates:
            mark, content, failure = None, None, ""
            try:
                mark = read_run_mark(folder)
                self._check(folder, mark)
                content = self._read(folder, mark)
            except BrokenSnapshot as error:
                failure = str(error)
            failure = self._first(failure)
            if mark is not None and content is not None and not failure:
                self._apply(mark, *content, trainer=trainer, loader=loader)
                self.last = folder
                return
            if self.world.leads:
                warnings.warn(f"checkpoint {folder} is damaged and is passed over: {failure}", stacklevel=2)
        if candidates:
            raise InputError(
                f"--output {self.folder.parent}: none of its {len(candidates)} checkpoints can be read by every "
                "process; make the folder readable for all, or give a new --output to start anew"
            )

    def _read(self, folder: Path, mark: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The state, and what this rank is to have of what ranks have of their own."""
        state = read_tensors(folder, "state.pt", mark)
        ranks = [self.world.rank] if mark["num_ranks"] == self.world.size else list(range(mark["num_ranks"]))
        return state, [read_tensors(folder, f"rank-{rank:05d}.pt", mark) for rank in ranks]

    def _apply(
        self,
        mark: dict[str, Any],
        state: dict[str, Any],
        ranks: list[dict[str, Any]],
        *,
        trainer: Trainer,
        loader: Loader,
    ) -> None:
        engine, method = trainer.engine, trainer.method
        buffers = {name: _mean([own["buffers"][name] for own in ranks]) for name in method.rank_state()}
        method.load_state_dict(_shared_state(state) | buffers)
        load_optimizer_state(engine, method.model, state["optimizer"])
        engine.global_steps = mark["step"]
        scaler = loss_scaler(trainer.engine)
        if scaler is not None and "loss_scaler" in ranks[0]:
            scaler.load_state_dict(ranks[0]["loss_scaler"])
        loader.load_state_dict(mark["loader"])
        trainer.progress = Progress(step=mark["step"], batch=self._batches_done(engine, loader))
        if mark["num_ranks"] == self.world.size:
            torch.set_rng_state(ranks[0]["random"])
            if self.world.device.type == "cuda":
                torch.cuda.set_rng_state(ranks[0]["random_cuda"], self.world.device)
            return
        torch.manual_seed(hash((mark["loader"]["seed"], mark["step"], self.world.rank)) % 2**63)
        if self.world.leads:
            warnings.warn(
                f"the run goes on with {self.world.size} process(es) instead of {mark['num_ranks']}: their running "
                "statistics are averaged, and a step has another number of images",
                stacklevel=3,
            )

    def _check(self, folder: Path, mark: dict[str, Any]) -> None:
        for name, value in self.names.items():
            if mark.get(name) != value:
                raise InputError(
                    f"{name} {value}: {folder} is of {name} {mark.get(name)}; repeat the run's command as it was, or "
                    "give a new --output"
                )
        if mark["data"] != self.data:
            raise InputError(
                f"--data: not what the run was started on, says {folder}; give the same datasets unchanged, or a new "
                "--output"
            )

    def _batches_done(self, engine: Any, loader: Loader) -> int:
        """Batches that are done, as if the run had had as many ranks from its start: the loader's position counts
        images over all ranks."""
        state = loader.state_dict()
        left = max(0, self.num_images - state["position"])
        return (state["epoch"] + 1) * len(loader) - left // (engine.train_micro_batch_size_per_gpu() * self.world.size)

    def _first(self, failure: str) -> str:
        """The first rank's failure, if any rank has one; the same on all ranks."""
        everyone = gather(failure) if self.world.size > 1 else [failure]
        return next((one for one in everyone if one), "")

    def _give_up(self, part: Path, failure: str, *, size: int) -> None:
        known = step_folders(self.folder)
        self.world.barrier()  # the others have counted what there is before anything goes
        if self.world.leads:
            shutil.rmtree(part, ignore_errors=True)
        step = int(part.name[5:13])
        what = f"the checkpoint of step {step} ({size / 1e6:,.0f} MB) cannot be written to {self.folder}: {failure}"
        if self.last is None and not known:
            raise InputError(f"{what}; there is none before it to go back to: make room and repeat the command")
        if self.world.leads:
            free = shutil.disk_usage(self.folder).free
            warnings.warn(
                f"{what} ({free / 1e6:,.0f} MB free); the run goes on, and could be continued from "
                f"{self.last or known[0]}",
                stacklevel=3,
            )

    def _prune(self, step: int) -> None:
        """Drops what is neither among the newest nor among the best, up to ``step``; broken ones first of all."""
        scores: dict[Path, float | None] = {}
        for folder in step_folders(self.folder):
            if int(folder.name[5:]) > step:
                continue
            try:
                scores[folder] = read_run_mark(folder)["score"]
            except BrokenSnapshot:
                remove(folder)
        scored = sorted(((score, folder) for folder, score in scores.items() if score is not None), reverse=True)
        kept = {*list(scores)[: self.keep], *(folder for _, folder in scored[: self.keep_best])}
        for folder in scores:
            if folder not in kept:
                remove(folder)


def _shared_state(state: dict[str, Any]) -> dict[str, Any]:
    """What ``Method.shared_state`` gave. The first version kept model, momentum copy and queue apart."""
    if "model" not in state:
        shared: dict[str, Any] = state["method"]
        return shared
    parts = {"model": state["model"], **state["method"]}
    names = {"key": "target", "position": "_extra_state"}
    return {
        f"{names.get(part, part)}.{names.get(name, name)}": value
        for part, values in parts.items()
        for name, value in values.items()
    }


def _failure(write: Callable[[], object]) -> str:
    """Why ``write`` could not write; empty where it could."""
    try:
        write()
    except (OSError, RuntimeError) as error:  # torch says RuntimeError of a full disk
        return reason_of(error)
    return ""


def _mean(buffers: list[Tensor]) -> Tensor:
    """The average of what the ranks had; counts are those of the first."""
    first = buffers[0]
    return first if len(buffers) == 1 or not first.is_floating_point() else torch.stack(buffers).mean(dim=0)
