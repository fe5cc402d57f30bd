"""Checkpoints of a training, from which it goes on as if it had never stopped, and what is kept of them at the end:
the weights of the best, and the scores of those to be averaged.

    FOLDER/checkpoints/step-00000500/    state.pt, complete.json (see train.checkpoints.snapshot)

Orders and views are addressed by seed, epoch and row, dropout by the step, and nothing else is random, so weights,
optimiser, position and what validation has kept are all there is. One checkpoint is kept; a cell that is done leaves
none.

Legend: V validation images, N test images, L labels.
"""

import dataclasses
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eval.training.feed import Feed
from eval.training.scores import Validation, mean_scores
from eval.training.task import Floats
from shards.base.atomic import begin_folder
from shards.base.words import reason_of
from train.checkpoints.snapshot import BrokenSnapshot, read_mark, read_tensors, remove, seal, write_tensors
from train.engine.optimizer_state import load_optimizer_state, optimizer_state
from train.ranks.world import World


class Kept:
    """The best weights by validation, and, for an average of several, the scores of the best steps of each label.

    Scores rather than weights: a checkpoint's are small, and 14 labels may rank 14 times ten checkpoints.
    """

    def __init__(self, *, average: int, num_labels: int) -> None:
        self.average, self.num_labels = average, num_labels
        self.history: list[Validation] = []
        self.weights: dict[str, Tensor] = {}
        self._scores: dict[int, dict[str, Tensor]] = {}  # by step

    @property
    def best(self) -> Validation | None:
        """The best validation so far, the first of equals."""
        return max(self.history, key=lambda validation: validation.rank, default=None)

    @property
    def num_since_best(self) -> int:
        """Validations behind the best one."""
        return len(self.history) - 1 - self.history.index(self.best) if self.best else 0

    def note(self, validation: Validation, model: nn.Module) -> bool:
        """Keeps the weights if they are the best so far, and says whether the scores are to be averaged, so far."""
        self.history.append(validation)
        if self.best is validation:
            self.weights = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
        return self.average > 1 and validation.step in self._ranked()

    def add_scores(self, step: int, valid: Floats, test: Floats) -> None:
        """Keeps the logits (V, L) and (N, L) of a step, and lets go of those that no label ranks any more."""
        self._scores[step] = {"valid": torch.from_numpy(valid), "test": torch.from_numpy(test)}
        ranked = self._ranked()
        self._scores = {each: scores for each, scores in self._scores.items() if each in ranked}

    def averaged(self) -> tuple[Floats, Floats]:
        """Logits (V, L) and (N, L) of the mean probabilities of each label's best checkpoints."""

        def mean(part: str) -> Floats:
            columns = [
                mean_scores([self._scores[step][part][:, label].numpy() for step in self._best_steps(label)])
                for label in range(self.num_labels)
            ]
            return np.stack(columns, axis=1)

        return mean("valid"), mean("test")

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": {str(each.step): dataclasses.asdict(each) for each in self.history},
            "weights": self.weights,
            "scores": {str(step): scores for step, scores in self._scores.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = [Validation(**each) for each in state["history"].values()]
        self.weights = state["weights"]
        self._scores = {int(step): scores for step, scores in state["scores"].items()}

    def _best_steps(self, label: int) -> list[int]:
        ranked = sorted(self.history, key=lambda validation: validation.rank_for(label), reverse=True)
        return [validation.step for validation in ranked[: self.average]]

    def _ranked(self) -> set[int]:
        return {step for label in range(self.num_labels) for step in self._best_steps(label)}


class Snapshots:
    """The checkpoints of one cell. All ranks call its methods together.

    Args:
        mark: the task's fingerprint; a checkpoint of another is removed.
    """

    def __init__(self, folder: Path, *, mark: str, world: World) -> None:
        self.folder, self.mark, self.world = folder / "checkpoints", mark, world

    def save(self, step: int, *, engine: Any, model: nn.Module, feed: Feed, kept: Kept, seconds: float) -> None:
        """Writes a checkpoint, then drops the one before. Where it cannot, as on a full disk, a warning says so."""
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer_state(engine, model, self.world),
            "kept": kept.state_dict(),
        }
        if self.world.leads:
            about = {"step": step, "fingerprint": self.mark, "feed": feed.state_dict(), "seconds": seconds}
            try:
                self._write(self.folder / f"step-{step:08d}", state, about)
            except (OSError, RuntimeError) as error:  # torch says RuntimeError of a full disk
                why = reason_of(error)
                warnings.warn(f"no checkpoint of step {step} in {self.folder}: {why}; it goes on", stacklevel=2)
        self.world.barrier()

    def restore(self, *, engine: Any, model: nn.Module, feed: Feed, kept: Kept) -> tuple[int, float]:
        """Loads the newest checkpoint that is whole and of this task; the steps and seconds done, 0 without one."""
        for folder in self._folders():
            try:
                mark = read_mark(folder)
                state = read_tensors(folder, "state.pt", mark)
            except BrokenSnapshot:
                continue  # the cell is computed anew, from the one before if there is one
            if mark.get("fingerprint") != self.mark:
                continue
            model.load_state_dict(state["model"])
            load_optimizer_state(engine, model, state["optimizer"])
            feed.load_state_dict(mark["feed"])
            kept.load_state_dict(state["kept"])
            return mark["step"], mark["seconds"]
        return 0, 0.0

    def clear(self) -> None:
        """Removes all of them."""
        if self.world.leads:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, folder: Path, state: dict[str, Any], about: dict[str, Any]) -> None:
        part = begin_folder(folder)
        try:
            write_tensors(part / "state.pt", state)
            seal(folder, about)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        for other in self._folders():
            if other != folder:
                remove(other)

    def _folders(self) -> list[Path]:
        """Newest first."""
        return sorted((path for path in self.folder.glob("step-*") if not path.suffix), reverse=True)
