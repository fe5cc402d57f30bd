"""What a grid has to compute. All is read, checked and drawn before the first cell, so that mistakes show at once."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from eval.foreign.kinds import is_foreign, kind_of
from eval.grid.config import GridConfig
from eval.multimodal.config import MultimodalConfig
from eval.multimodal.text import texts_of
from eval.multimodal.tokenizer import model_fingerprint
from eval.readouts.registry import READOUTS
from eval.results.table import CELLS
from eval.study.cells import CellKey, cell_fingerprint
from eval.study.cohort import Cohort, Fold, open_cohort
from eval.study.draws import LabelledDraw
from eval.study.layers import LayerFeatures
from eval.study.starts import Start, StartEncoder, build_starts, check_source
from eval.training.config import TrainingConfig
from eval.words import NO_IMAGE
from pipeline.views import PRESETS
from shards.base.dataclass_io import to_mapping
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.encoders.file import is_ours


@dataclass(frozen=True, kw_only=True)
class CellTask:
    """One cell to compute; ``fingerprint`` is that of all it depends on. What reads texts alone has no ``encoder``."""

    key: CellKey
    encoder: StartEncoder | None
    fold: Fold
    draw: LabelledDraw
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A cohort, its starts, and the cells to compute, ordered by readout, start, encoder, fold and draw."""

    config: GridConfig
    cohort: Cohort
    starts: Mapping[str, Start]
    tasks: list[CellTask]

    @property
    def cells(self) -> Path:
        """The folder of the cells."""
        return self.config.output / CELLS

    @cached_property
    def pictured(self) -> dict[str, ShardIndex]:
        """The images whose features frozen readouts need, each in one of these sets: those that any draw holds, and
        those that are scored. In cross-validation all are scored by some fold."""
        if self.cohort.protocol.folds:
            return {"all": self.cohort.test}
        draws = [task.draw for task in self.tasks if READOUTS[task.key.readout].is_frozen]
        (fold,) = self.cohort.folds
        train = fold.parts.train
        drawn = train.take(np.isin(train.rows, np.unique(np.concatenate([draw.rows for draw in draws]))))
        return {"training": drawn, "validation": fold.parts.valid, "test": fold.parts.test}


def make_plan(config: GridConfig) -> Plan:
    """Reads and checks everything.

    Raises:
        InputError: no such run, dataset, label or split; patients that are in two splits; one class only in training
            or test.
    """
    config.finetune.check()
    config.multimodal.check()
    check_sources(config)
    readouts = [READOUTS[name] for name in config.readout]
    cohort = open_cohort(
        config.settings,
        fraction=() if all(readout.by_shots for readout in readouts) else config.fraction,
        shots=config.shots if any(readout.by_shots for readout in readouts) else (),
    )
    _ = cohort.scored  # says now what is wrong with the test set
    if any(readout.inputs in ("both", "text") for readout in readouts):
        _check_texts(cohort)
    views = None if config.size is None else dataclasses.replace(PRESETS["evaluation"], size=config.size)
    starts = build_starts(
        config.starts,
        architecture=config.architecture,
        views=views,
        num_random=config.settings.random_starts,
        seed=config.settings.seed,
    )
    if config.layers:
        for start in starts.values():
            read_encoder(start.encoders[0], config.layers)  # refuses layers that it has not
    settings = {readout: _readout_settings(readout, config) for readout in config.readout}
    every = [encoder for start in starts.values() for encoder in start.encoders]
    tasks = [
        _task(cohort, readout, encoder, fold, draw, settings[readout])
        for readout in config.readout
        for encoder in (every if READOUTS[readout].inputs != "text" else [None])
        for fold in cohort.folds
        for draw in (fold.few_shot if READOUTS[readout].by_shots else fold.draws)
    ]
    return Plan(config=config, cohort=cohort, starts=starts, tasks=tasks)


def read_encoder(encoder: StartEncoder, layers: Sequence[int]) -> nn.Module:
    """What frozen readouts read: the encoder, or some of its layers.

    Raises:
        InputError: it has no such layers.
    """
    return LayerFeatures(encoder.encoder, layers, name=encoder.name).eval() if layers else encoder.encoder


def _task(
    cohort: Cohort,
    readout: str,
    encoder: StartEncoder | None,
    fold: Fold,
    draw: LabelledDraw,
    settings: dict[str, Any],
) -> CellTask:
    start, hash, views = (NO_IMAGE, "", None) if encoder is None else (encoder.id, encoder.hash, encoder.views)
    return CellTask(
        key=CellKey(readout=readout, start=start, fraction=draw.fraction, draw=draw.draw, fold=fold.number),
        encoder=encoder,
        fold=fold,
        draw=draw,
        fingerprint=cell_fingerprint(
            encoder_hash=hash,
            protocol=cohort.protocol,
            datasets=cohort.index.fingerprints,
            labels=cohort.labels,
            settings={
                **settings,
                "draw": draw.hash,
                "views": None if views is None else dataclasses.asdict(views.evaluation()),
            },
        ),
    )


def _check_texts(cohort: Cohort) -> None:
    parts = cohort.folds[0].parts
    for images, name in ((parts.train, "training"), (parts.test, "test")):
        if not any(text and text.strip() for text in texts_of(images)):
            raise InputError(
                f"--data: none of the {len(images):,} {name} images has an indication; pack the reports with them "
                "(mimic: --reports, table: --indication-column), or ask for --inputs image"
            )


def check_sources(config: GridConfig) -> None:
    """Refuses starts of which nothing can be read, before data is.

    Raises:
        InputError: naming the start, its source and what may stand there.
    """
    sources = [(name, source) for name, several in config.starts.items() for source in several]
    for name, source in sources:
        check_source(f"start {name} {source}" if name != source else f"start {source}", source)
        _check_foreign(source, config)
    others = [source for _, source in sources if not is_foreign(source)]
    if others and not any(is_ours(source) for source in others):
        for field, example in (("architecture", "resnet18"), ("size", 224)):
            if getattr(config, field) is None:
                raise InputError(
                    f"{field}: not given, and no start is a run that says it; give a grid file with it, such as "
                    f"{field}: {example}"
                )


def _check_foreign(source: str, config: GridConfig) -> None:
    """Refuses what models of others do not do, but for those that become encoders of ours."""
    kind = kind_of(source)
    if kind is None or kind.is_ours:
        return
    for readout in config.readout:
        if READOUTS[readout].inputs in ("both", "image"):
            raise InputError(f"start {source}: is for linear, kNN, few-shot and fine-tuned readouts, not for {readout}")


def _readout_settings(readout: str, config: GridConfig) -> dict[str, Any]:
    asked = config.settings_of(readout)
    settings = asked.decisive() if isinstance(asked, TrainingConfig) else to_mapping(asked) if asked else {}
    settings.pop("keep_model", None)  # changes what is written, and no score
    if config.layers and READOUTS[readout].is_frozen:
        settings["layers"] = list(config.layers)
    if isinstance(asked, MultimodalConfig):
        settings["text_model"] = model_fingerprint(asked.text_model)
    return settings
