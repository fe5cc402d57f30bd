"""What a fine-tuning learns from and what it gives, also as files: the processes of a launcher read and write those.

Legend: M labelled training images, V validation images, N test images, L labels.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.finetune.config import FinetuneConfig
from eval.multimodal.config import MultimodalConfig
from eval.study.features import encoder_hash, images_fingerprint
from eval.training.config import TrainingConfig
from pipeline.views import PRESETS, ViewSpec
from shards.base.atomic import atomic_file
from shards.base.dataclass_io import from_mapping, to_mapping
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.encoders.saved import LoadedEncoder, load_encoder, save_encoder

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
_TASK, _ENCODER, _RESULT = "task.npz", "start.safetensors", "result.npz"
_KINDS: dict[str, type[TrainingConfig]] = {
    "FinetuneConfig": FinetuneConfig,
    "MultimodalConfig": MultimodalConfig,
}
# What changes how something is computed and not what comes out.
_FREE = ("num_processes", "checkpoint_every", "keep_model", "engine")


@dataclass(frozen=True, kw_only=True)
class FinetuneTask:
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
class Finetuned:
    """Logits in the order of the task's rows: ``valid_scores`` (V, L), ``test_scores`` (N, L).

    ``details`` hold what happened, in plain values: steps, the best step, the validations, precision, norm, seconds.
    """

    valid_scores: Floats
    test_scores: Floats
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the launcher's processes are told: ``start`` is None where no encoder is asked for; ``options`` are plain
    values beside the settings, as a multimodal training has them."""

    task: FinetuneTask
    start: LoadedEncoder | None
    config: TrainingConfig
    options: dict[str, str] = field(default_factory=dict)


def fingerprint(task: FinetuneTask, start: LoadedEncoder | None, config: TrainingConfig, *more: str) -> str:
    """16 hexadecimal digits of all that decides the outcome: the encoder, the images and labels, the settings, and what
    more there is."""
    digest = hashlib.sha256(" ".join([encoder_hash(start.encoder) if start else "", *more]).strip().encode())
    settings = {name: value for name, value in to_mapping(config).items() if name not in _FREE}
    views = dataclasses.asdict(start.views.evaluation()) if start else {}
    digest.update(json.dumps([settings, views, task.labels, task.fraction], sort_keys=True).encode())
    for rows in (task.train_rows, task.valid_rows, task.test_rows):
        digest.update(images_fingerprint(task.select(rows)).encode())
    for labels in (task.train_labels, task.valid_labels):
        digest.update(np.ascontiguousarray(labels, dtype=np.float32).tobytes())
    return digest.hexdigest()[:16]


def write_work(folder: Path, work: Work) -> None:
    """Writes what :func:`read_work` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    task, start = work.task, work.start
    if start is not None:
        norm = start.metadata.get("norm", "batch")
        save_encoder(folder / _ENCODER, start.encoder, name=start.name, views=start.views, norm=norm)
    about = {
        "folders": [str(each) for each in task.index.folders],
        "labels": list(task.labels),
        "fraction": task.fraction,
        "has_start": start is not None,
        "kind": type(work.config).__name__,
        "config": to_mapping(work.config),
        "options": work.options,
    }
    arrays = {name: getattr(task, name) for name in _arrays(task)}
    with atomic_file(folder / _TASK) as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)


def read_work(folder: Path) -> Work:
    """What is to be done in a cell's folder.

    Raises:
        InputError: nothing was written there, or the datasets are no longer where they were.
    """
    if not (folder / _TASK).is_file():
        raise InputError(f"{folder}: holds no fine-tuning to be done; give the folder of a cell that has been started")
    with np.load(folder / _TASK, allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        arrays = {name: file[name] for name in file.files if name != "about"}
    task = FinetuneTask(
        index=ShardIndex.open(*about["folders"]),
        labels=tuple(about["labels"]),
        fraction=about["fraction"],
        **arrays,
    )
    return Work(
        task=task,
        start=load_encoder(folder / _ENCODER) if about["has_start"] else None,
        config=from_mapping(_KINDS[about["kind"]], about["config"]),
        options=about["options"],
    )


def write_result(folder: Path, result: Finetuned, mark: str) -> None:
    """Writes what :func:`read_result` reads; ``mark`` is the task's fingerprint."""
    with atomic_file(folder / _RESULT) as file:
        np.savez(
            file,
            about=np.array(json.dumps({"fingerprint": mark, "details": result.details})),
            valid_scores=result.valid_scores,
            test_scores=result.test_scores,
        )


def read_result(folder: Path, mark: str) -> Finetuned | None:
    """The result in a cell's folder, if there is one of this fingerprint."""
    if not (folder / _RESULT).is_file():
        return None
    with np.load(folder / _RESULT, allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        if about["fingerprint"] != mark:
            return None
        return Finetuned(valid_scores=file["valid_scores"], test_scores=file["test_scores"], details=about["details"])


def remove_exchange(folder: Path) -> None:
    """Removes what was written for the launcher's processes, once its result has been read."""
    for name in (_TASK, _ENCODER, _RESULT):
        (folder / name).unlink(missing_ok=True)


def training_views(config: TrainingConfig, views: ViewSpec) -> ViewSpec:
    """The preset's augmentation in the size, normalisation and fill that the encoder knows."""
    return dataclasses.replace(
        PRESETS[config.augmentation], size=views.size, mean=views.mean, std=views.std, fill=views.fill
    )


def _arrays(task: FinetuneTask) -> list[str]:
    return [each.name for each in dataclasses.fields(task) if isinstance(getattr(task, each.name), np.ndarray)]
