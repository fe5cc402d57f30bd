"""What a grid has to compute. All is read, checked and drawn before the first cell, so that mistakes show at once."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.grid.config import DRAWS, FRACTIONS, WORDS, GridConfig, Settings
from eval.multimodal.config import MultimodalConfig
from eval.multimodal.text import texts_of
from eval.multimodal.tokenizer import model_fingerprint
from eval.readouts.registry import READOUTS
from eval.results.table import CELLS
from eval.study.cells import CellKey, cell_fingerprint
from eval.study.draws import LabelledDraw, few_shot_draw, import_draws, label_matrix, labelled_draws
from eval.study.partition import SHENZHEN_DRAWS, Partition, partition
from eval.study.protocol import Protocol, choose_protocol
from eval.study.starts import Start, StartEncoder, build_starts, is_run
from eval.study.studies import ScoredStudies, scored_studies
from eval.training.config import TrainingConfig
from eval.words import NO_IMAGE
from pipeline.views import PRESETS
from shards.base.dataclass_io import to_mapping
from shards.base.errors import InputError
from shards.index import ShardIndex


@dataclass(frozen=True, kw_only=True)
class CellTask:
    """One cell to compute; ``fingerprint`` is that of all it depends on. What reads texts alone has no ``encoder``."""

    key: CellKey
    encoder: StartEncoder | None
    draw: LabelledDraw
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """What all cells of all starts share: images, rules, draws.

    ``draws`` are those of the label fractions, ``few_shot`` those of the numbers of images a class.
    """

    index: ShardIndex
    protocol: Protocol
    parts: Partition
    draws: list[LabelledDraw]
    few_shot: list[LabelledDraw]
    labels: tuple[str, ...]

    @cached_property
    def scored(self) -> ScoredStudies:
        """The test set, grouped into studies."""
        return scored_studies(self.parts.test, self.labels, self.protocol)

    @cached_property
    def valid_labels(self) -> npt.NDArray[np.float32]:
        """Labels of the validation images, NaN where there are none."""
        return label_matrix(self.parts.valid, self.labels, self.protocol.uncertain)

    def of_readout(self, readout: str) -> list[LabelledDraw]:
        """The draws that a readout learns from."""
        return self.few_shot if READOUTS[readout].by_shots else self.draws


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study, its starts, and the cells to compute, ordered by readout, start, encoder and draw."""

    config: GridConfig
    study: Study
    starts: Mapping[str, Start]
    tasks: list[CellTask]

    @property
    def cells(self) -> Path:
        """The folder of the cells."""
        return self.config.output / CELLS

    @cached_property
    def drawn(self) -> ShardIndex:
        """The training images that any draw of a frozen readout holds: those whose features are needed."""
        draws = [task.draw for task in self.tasks if READOUTS[task.key.readout].is_frozen]
        train = self.study.parts.train
        return train.take(np.isin(train.rows, np.unique(np.concatenate([draw.rows for draw in draws]))))


def make_plan(config: GridConfig) -> Plan:
    """Reads and checks everything.

    Raises:
        InputError: no such run, dataset, label or split; patients that are in two splits; one class only in training
            or test.
    """
    config.finetune.check()
    config.multimodal.check()
    _check_sources(config)
    readouts = [READOUTS[name] for name in config.readout]
    study = make_study(
        config.settings,
        fraction=() if all(readout.by_shots for readout in readouts) else config.fraction,
        shots=config.shots if any(readout.by_shots for readout in readouts) else (),
    )
    _ = study.scored  # says now what is wrong with the test set
    if any(readout.inputs in ("both", "text") for readout in readouts):
        _check_texts(study)
    views = None if config.size is None else dataclasses.replace(PRESETS["evaluation"], size=config.size)
    starts = build_starts(
        config.starts,
        architecture=config.architecture,
        views=views,
        num_random=config.settings.random_starts,
        seed=config.settings.seed,
    )
    settings = {readout: _readout_settings(readout, config) for readout in config.readout}
    every = [encoder for start in starts.values() for encoder in start.encoders]
    tasks = [
        _task(study, readout, encoder, draw, settings[readout])
        for readout in config.readout
        for encoder in (every if READOUTS[readout].inputs != "text" else [None])
        for draw in study.of_readout(readout)
    ]
    return Plan(config=config, study=study, starts=starts, tasks=tasks)


def _task(
    study: Study, readout: str, encoder: StartEncoder | None, draw: LabelledDraw, settings: dict[str, Any]
) -> CellTask:
    start, hash, views = (NO_IMAGE, "", None) if encoder is None else (encoder.id, encoder.hash, encoder.views)
    return CellTask(
        key=CellKey(readout=readout, start=start, fraction=draw.fraction, draw=draw.draw),
        encoder=encoder,
        draw=draw,
        fingerprint=cell_fingerprint(
            encoder_hash=hash,
            protocol=study.protocol,
            datasets=study.index.fingerprints,
            labels=study.labels,
            settings={
                **settings,
                "draw": draw.hash,
                "views": None if views is None else dataclasses.asdict(views.evaluation()),
            },
        ),
    )


def _check_texts(study: Study) -> None:
    for images, name in ((study.parts.train, "training"), (study.parts.test, "test")):
        if not any(text and text.strip() for text in texts_of(images)):
            raise InputError(
                f"--data: none of the {len(images):,} {name} images has an indication; pack the reports with them "
                "(mimic: --reports, table: --indication-column), or ask for --inputs image"
            )


def _check_sources(config: GridConfig) -> None:
    sources = [(name, source) for name, several in config.starts.items() for source in several]
    for name, source in sources:
        if source not in WORDS and not Path(source).exists():
            raise InputError(f"start {name} {source}: no such file or run folder; give one, or random or imagenet")
    if not any(is_run(source) for _, source in sources):
        for field in ("architecture", "size"):
            if getattr(config, field) is None:
                raise InputError(f"{field}: not given, and no start is a run that says it; give it in a grid file")


def make_study(settings: Settings, *, fraction: tuple[float, ...] | None = None, shots: tuple[int, ...] = ()) -> Study:
    """Opens the data and draws labels.

    Args:
        fraction: None: 1, 10 and 100 %, or those of the split rule.
        shots: images a class, of readouts by shots.

    Raises:
        InputError: as :func:`make_plan`.
    """
    index = ShardIndex.open(*settings.data)
    labels = tuple(index.label_names) if settings.label == ("all",) else settings.label
    label_matrix(index, labels, settings.uncertain)  # refuses an unknown label before anything else
    protocol = choose_protocol(
        index,
        settings.protocol,
        uncertain=settings.uncertain,
        view=settings.view,
        train_split=settings.train_split,
        valid_split=settings.valid_split,
        test_split=settings.test_split,
        split_rule=settings.split_rule,
        left_out=settings.left_out,
        seed=settings.seed,
    )
    parts = partition(index, protocol)
    imported = None if settings.draw_file is None else import_draws(settings.draw_file, parts.train)
    wanted = _num_draws(settings, fraction)
    return Study(
        index=index,
        protocol=protocol,
        parts=parts,
        draws=labelled_draws(parts.train, labels, wanted, protocol=protocol, imported=imported) if wanted else [],
        few_shot=[
            few_shot_draw(parts.train, labels, num_shots, draw=draw, protocol=protocol)
            for num_shots in sorted(set(shots))
            for draw in range(settings.draws or DRAWS)
        ],
        labels=labels,
    )


def _readout_settings(readout: str, config: GridConfig) -> dict[str, Any]:
    asked = config.settings_of(readout)
    settings = asked.decisive() if isinstance(asked, TrainingConfig) else to_mapping(asked) if asked else {}
    if isinstance(asked, MultimodalConfig):
        settings["text_model"] = model_fingerprint(asked.text_model)
    return settings


def _num_draws(settings: Settings, fraction: tuple[float, ...] | None) -> dict[float, int]:
    """How many draws of each fraction."""
    is_shenzhen = settings.split_rule == "shenzhen"
    if fraction is None:
        fraction = tuple(SHENZHEN_DRAWS) if is_shenzhen else FRACTIONS
    by_rule = SHENZHEN_DRAWS if is_shenzhen else {}
    return {share: settings.draws or by_rule.get(share, DRAWS) for share in sorted(set(fraction))}
