"""The work of one cell: features and a readout on them, fine-tuning of the encoder, or a multimodal classifier.

Features of an encoder are computed once for all cells, whoever computes them: other processes wait for their file.
"""

import time
from pathlib import Path

import numpy as np
import torch

from eval.finetune.run import run_finetune
from eval.grid.plan import CellTask, Plan
from eval.multimodal.run import run_multimodal
from eval.readouts.frozen import RowFeatures, frozen_cell, frozen_readout
from eval.study.cells import Cell
from eval.study.features import Features, cached_features
from eval.study.starts import StartEncoder
from eval.training.task import Trained, TrainingTask
from eval.words import MULTIMODAL
from shards.base.locks import Lock
from shards.index import ShardIndex
from train.encoders.saved import LoadedEncoder


class CellWorker:
    """Computes cells of a plan; keeps the features of one encoder, as tasks come encoder by encoder."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._encoder_id: str | None = None
        self._features: RowFeatures | None = None
        device = plan.config.settings.device
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device

    def compute(self, task: CellTask) -> Cell:
        """One cell, not yet saved.

        Raises:
            InputError: features or a loss that are not finite, an absent device.
        """
        if task.encoder is None or task.key.readout in MULTIMODAL:
            return self._classify(task)
        return self._train(task, task.encoder) if task.key.readout == "finetune" else self._read_out(task, task.encoder)

    def _read_out(self, task: CellTask, encoder: StartEncoder) -> Cell:
        config, study = self._plan.config, self._plan.study
        return frozen_cell(
            task.key,
            frozen_readout(
                task.key.readout,
                num_neighbours=config.knn.neighbours,
                temperature=config.knn.temperature,
                seed=config.settings.seed,
            ),
            draw=task.draw,
            features=self._features_of(encoder),
            parts=study.parts,
            labels=study.labels,
            protocol=study.protocol,
            fingerprint=task.fingerprint,
            encoder_hash=encoder.hash,
        )

    def _train(self, task: CellTask, encoder: StartEncoder) -> Cell:
        begin = time.perf_counter()
        done = run_finetune(
            _loaded(encoder),
            self._work(task),
            self._plan.config.settled(self._plan.config.finetune),
            self._folder(task),
            device=self._device,
            title=task.key.name,
        )
        return self._cell(task, done, seconds=time.perf_counter() - begin)

    def _classify(self, task: CellTask) -> Cell:
        begin = time.perf_counter()
        done = run_multimodal(
            None if task.encoder is None else _loaded(task.encoder),
            self._work(task),
            self._plan.config.settled(self._plan.config.multimodal),
            self._folder(task),
            inputs=MULTIMODAL[task.key.readout],
            features=self._plan.config.features,
            device=self._device,
            title=task.key.name,
        )
        return self._cell(task, done, seconds=time.perf_counter() - begin)

    def _work(self, task: CellTask) -> TrainingTask:
        study, draw = self._plan.study, task.draw
        is_labelled = np.isfinite(draw.labels).any(axis=1)
        return TrainingTask(
            index=study.index,
            labels=study.labels,
            fraction=draw.fraction,
            train_rows=draw.rows[is_labelled],
            train_labels=draw.labels[is_labelled],
            valid_rows=study.parts.valid.rows,
            valid_labels=study.valid_labels,
            test_rows=study.parts.test.rows,
        )

    def _folder(self, task: CellTask) -> Path:
        return self._plan.cells / f"{task.key.name}.run"

    def _cell(self, task: CellTask, done: Trained, *, seconds: float) -> Cell:
        plan, draw = self._plan, task.draw
        hash = "" if task.encoder is None else task.encoder.hash
        return Cell(
            key=task.key,
            fingerprint=task.fingerprint,
            labels=plan.study.labels,
            test_rows=plan.study.parts.test.rows,
            scores=done.test_scores,
            valid_rows=plan.study.parts.valid.rows,
            valid_scores=done.valid_scores,
            num_patients=draw.num_patients,
            num_images=draw.num_images,
            num_positives=draw.num_positives,
            is_extended=draw.is_extended,
            details=done.details | {"encoder_hash": hash, "draw_hash": draw.hash},
            seconds=seconds,
        )

    def _features_of(self, encoder: StartEncoder) -> RowFeatures:
        if self._features is None or self._encoder_id != encoder.id:
            plan, self._features = self._plan, None  # frees the last encoder's
            sets = {"training": plan.drawn, "validation": plan.study.parts.valid, "test": plan.study.parts.test}
            with Lock(plan.config.features / f"{encoder.hash}.lock").hold():
                values = [self._cached(encoder, images, name) for name, images in sets.items()]
            rows = np.concatenate([images.rows for images in sets.values()])
            self._features, self._encoder_id = RowFeatures(rows, np.concatenate(values)), encoder.id
        return self._features

    def _cached(self, encoder: StartEncoder, images: ShardIndex, name: str) -> Features:
        settings = self._plan.config.settings
        return cached_features(
            self._plan.config.features,
            encoder.encoder,
            images,
            encoder.views,
            batch_size=settings.batch_size,
            device=self._device,
            engine=settings.engine,
            description=f"features, {encoder.id}, {name}",
        )


def _loaded(encoder: StartEncoder) -> LoadedEncoder:
    return LoadedEncoder(
        encoder=encoder.encoder, name=encoder.name, views=encoder.views, metadata={"norm": encoder.norm}
    )
