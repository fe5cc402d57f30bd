"""What is kept of a fine-tuning's checkpoints: the weights of the best, and the scores of those to be averaged.

Legend: V validation images, N test images, L labels.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from eval.finetune_scores import Validation, mean_scores

Floats = npt.NDArray[np.float32]


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
