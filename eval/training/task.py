"""What a training learns from and what it gives.

Legend: M labelled training images, V validation images, N test images, L labels.
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from eval.study.features import encoder_hash, images_fingerprint
from eval.training.config import TrainingConfig
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.encoders.saved import LoadedEncoder
from train.ranks.world import World

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Config = TypeVar("Config", bound=TrainingConfig)


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """The images of one label draw and of validation and test, as global row numbers of ``index``.

    ``train_rows`` (M,) with ``train_labels`` (M, L): 1, 0, or NaN where an image has no such label; ``valid_rows`` (V,)
    with ``valid_labels`` (V, L), without which there is no early stopping; ``test_rows`` (N,), whose labels are not
    here. ``fraction`` is the share of the labels that the draw was asked for.
    """

    index: ShardIndex
    labels: tuple[str, ...]
    fraction: float
    train_rows: Rows
    train_labels: Floats
    valid_rows: Rows
    valid_labels: Floats
    test_rows: Rows

    def check(self) -> None:
        """Refuses what nothing can be learnt from.

        Raises:
            InputError: a label with one class only in the draw.
        """
        for number, label in enumerate(self.labels):
            values = self.train_labels[:, number]
            positives, negatives = int((values == 1).sum()), int((values == 0).sum())
            if not positives or not negatives:
                raise InputError(
                    f"--label {label!r}: the draw has {positives} positive and {negatives} negative images, but "
                    "fine-tuning needs both; choose a larger fraction, another label or another uncertain policy"
                )

    def select(self, rows: Rows) -> ShardIndex:
        """These rows of the index, in their order."""
        return self.index.take(self.index.positions(rows))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Logits in the order of the task's rows: ``valid_scores`` (V, L), ``test_scores`` (N, L).

    ``details`` hold what happened, in plain values: steps, the best step, the validations, precision, norm, seconds.
    """

    valid_scores: Floats
    test_scores: Floats
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Work(Generic[Config]):
    """All that a training needs to be told, in this process or another one: ``start`` is None where no encoder is asked
    for; ``options`` are plain values beside the settings; ``mark`` is the :func:`fingerprint` of all this."""

    task: TrainingTask
    start: LoadedEncoder | None
    config: Config
    mark: str
    options: dict[str, str] = field(default_factory=dict)

    def batch_size(self, world: World) -> int:
        """Images a process and a step."""
        return math.ceil(min(self.config.batch_size, len(self.task.train_rows)) / world.size)


def fingerprint(task: TrainingTask, start: LoadedEncoder | None, config: TrainingConfig, *more: str) -> str:
    """16 hexadecimal digits of all that decides the outcome: the encoder, the images and labels, the settings, and what
    more there is."""
    digest = hashlib.sha256(" ".join([encoder_hash(start.encoder) if start else "", *more]).strip().encode())
    views = dataclasses.asdict(start.views.evaluation()) if start else {}
    digest.update(json.dumps([config.decisive(), views, task.labels, task.fraction], sort_keys=True).encode())
    batch = min(config.batch_size, len(task.train_rows))
    if batch % config.num_processes:  # a small draw, filled up to a batch that the processes can share
        digest.update(f"shared by {config.num_processes}".encode())
    for rows in (task.train_rows, task.valid_rows, task.test_rows):
        digest.update(images_fingerprint(task.select(rows)).encode())
    for labels in (task.train_labels, task.valid_labels):
        digest.update(np.ascontiguousarray(labels, dtype=np.float32).tobytes())
    return digest.hexdigest()[:16]
