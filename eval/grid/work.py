"""The work of one cell: features and a readout on them, fine-tuning of the encoder, or a multimodal classifier.

Features of an encoder are computed once for all cells, whoever computes them: other processes wait for their file.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from eval.classifier.calibration import calibrate
from eval.classifier.file import HEAD_FILE, save_classifier
from eval.classifier.kept import trained_on
from eval.classifier.network import ImageClassifier
from eval.finetune.run import run_finetune
from eval.foreign.kinds import kind_of
from eval.grid.plan import CellTask, Plan, read_encoder
from eval.multimodal.file import MODEL_FILE
from eval.multimodal.run import run_multimodal
from eval.readouts.frozen import RowFeatures, frozen_readout, frozen_scores
from eval.readouts.registry import READOUTS
from eval.study.cells import Cell, Scores, cell_of_draw
from eval.study.features import Features, cached_features
from eval.study.starts import StartEncoder
from eval.training.keeping import KEPT
from eval.training.task import TrainingTask
from shards.base.locks import Lock
from shards.index import ShardIndex
from shards.stored_as import image_spec
from train.encoders.file import stored_digest
from train.encoders.saved import LoadedEncoder


class CellWorker:
    """Computes cells of a plan; keeps the features of one encoder, as tasks come encoder by encoder."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._encoder_id: str | None = None
        self._features: RowFeatures | None = None
        self._device = plan.config.settings.device

    def compute(self, task: CellTask) -> Cell:
        """One cell, not yet saved.

        Raises:
            InputError: features or a loss that are not finite, an absent device.
        """
        begin = time.perf_counter()
        scores = self._read_out(task) if READOUTS[task.key.readout].is_frozen else self._train(task)
        return cell_of_draw(
            task.key,
            task.draw,
            task.fold.parts,
            scores,
            labels=self._plan.cohort.labels,
            encoder_hash="" if task.encoder is None else task.encoder.hash,
            fingerprint=task.fingerprint,
            seconds=time.perf_counter() - begin,
        )

    def _read_out(self, task: CellTask) -> Scores:
        config = self._plan.config
        assert task.encoder is not None, "features are of an encoder"
        features = self._features_of(task.encoder)
        probe: list[Tensor] = []
        fit = frozen_readout(
            task.key.readout,
            num_neighbours=config.knn.neighbours,
            temperature=config.knn.temperature,
            seed=config.settings.seed,
            keep=lambda *parts: probe.extend(parts),
        )
        scores = frozen_scores(fit, task.draw, task.fold.parts, features, valid_labels=task.fold.valid_labels)
        if _keeps(self._plan, task):
            scores[2][KEPT] = self._keep(task, task.encoder, scores[0], *probe)
        return scores

    def _keep(
        self, task: CellTask, encoder: StartEncoder, valid_scores: npt.NDArray[np.float32], weight: Tensor, bias: Tensor
    ) -> str:
        """Writes a probe with its encoder."""
        layers, learnt = self._plan.config.layers, self._learnt(task)
        network = ImageClassifier(read_encoder(encoder, layers), len(learnt.labels))
        network.head.load_state_dict({"weight": weight, "bias": bias})
        images = learnt.select(learnt.train_rows)
        return save_classifier(
            kept_folder(self._plan, task),
            network,
            _loaded(encoder),
            readout=task.key.readout,
            labels=learnt.labels,
            image=image_spec(images),
            calibration=calibrate(valid_scores, learnt.valid_labels),
            trained=trained_on(images, fraction=learnt.fraction, num_valid=len(learnt.valid_rows)),
            layers=layers,
        )

    def _train(self, task: CellTask) -> Scores:
        config, inputs = self._plan.config, READOUTS[task.key.readout].inputs
        start = None if task.encoder is None else _loaded(task.encoder)
        learnt, settings = self._learnt(task), config.settings_of(task.key.readout)
        settings = dataclasses.replace(settings, keep_model=_keeps(self._plan, task))
        folder = kept_folder(self._plan, task)
        common = {"device": self._device, "title": task.key.name}
        if inputs is not None:
            done = run_multimodal(start, learnt, settings, folder, inputs=inputs, features=config.features, **common)
        else:
            assert start is not None, "an encoder is fine-tuned"
            done = run_finetune(start, learnt, settings, folder, **common)
        return done.valid_scores, done.test_scores, done.details

    def _learnt(self, task: CellTask) -> TrainingTask:
        cohort, fold, draw = self._plan.cohort, task.fold, task.draw
        is_labelled = np.isfinite(draw.labels).any(axis=1)
        return TrainingTask(
            index=cohort.index,
            labels=cohort.labels,
            fraction=draw.fraction,
            train_rows=draw.rows[is_labelled],
            train_labels=draw.labels[is_labelled],
            valid_rows=fold.parts.valid.rows,
            valid_labels=fold.valid_labels,
            test_rows=fold.parts.test.rows,
        )

    def _features_of(self, encoder: StartEncoder) -> RowFeatures:
        if self._features is None or self._encoder_id != encoder.id:
            plan, self._features = self._plan, None  # frees the last encoder's
            sets = plan.pictured
            with Lock(plan.config.features / f"{encoder.hash}.lock").hold():
                values = [self._cached(encoder, images, name) for name, images in sets.items()]
            rows = np.concatenate([images.rows for images in sets.values()])
            self._features, self._encoder_id = RowFeatures(rows, np.concatenate(values)), encoder.id
        return self._features

    def _cached(self, encoder: StartEncoder, images: ShardIndex, name: str) -> Features:
        settings = self._plan.config.settings
        return cached_features(
            self._plan.config.features,
            read_encoder(encoder, self._plan.config.layers),
            images,
            encoder.views,
            batch_size=settings.batch_size,
            device=self._device,
            engine=settings.engine,
            description=f"features, {encoder.id}, {name}",
        )


def kept_folder(plan: Plan, task: CellTask) -> Path:
    """Where a cell's training runs, and its classifier is kept."""
    return plan.cells / f"{task.key.name}.run"


def _keeps(plan: Plan, task: CellTask) -> bool:
    """Whether a cell's classifier is written: nobody uses those of random starts that others are compared with."""
    is_random = task.encoder is not None and task.encoder.weights == "random"
    return plan.config.keeps(task.key.readout) and not (is_random and len(plan.config.starts) > 1)


def is_kept(plan: Plan, task: CellTask, cell: Cell) -> bool:
    """Whether a cell's classifier is there, where it is written, and is of this computation of the cell."""
    if not _keeps(plan, task):
        return True
    name = MODEL_FILE if READOUTS[task.key.readout].inputs else HEAD_FILE
    return cell.details.get(KEPT, "") == stored_digest(kept_folder(plan, task) / name) != ""


def _loaded(encoder: StartEncoder) -> LoadedEncoder:
    metadata = {"norm": encoder.norm}
    kind = kind_of(encoder.weights)
    if kind is not None and not kind.is_ours:
        metadata["source"] = encoder.weights  # from which other processes open it
    return LoadedEncoder(
        encoder=encoder.encoder, name=encoder.name, views=encoder.views, metadata=metadata, seen=encoder.seen
    )
