"""Linear probes at label fractions: a pretrained encoder against the same architecture at a random start.

python -m eval linear --run runs/demo --data data/chexpert --label "Pleural Effusion" --fraction 0.01 0.1 1

Both starts go through the same procedure, on the same label draws, test studies and bootstrap resamples.
"""

import platform
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from eval.config import LinearConfig
from eval.features import Features, cached_features, encoder_hash, images_fingerprint
from eval.probe import fit_probe
from eval.protocol import (
    LabelledDraw,
    StudySet,
    default_test_split,
    labelled_draw,
    require_disjoint,
    select,
    study_set,
)
from eval.results import DrawResult, FractionResult, ProbeResult, Start, TestCounts
from eval.stats import Bootstrap, auroc, bootstrap
from pipeline.views import ViewSpec
from shards.errors import InputError
from shards.index import ShardIndex
from train.encoders import build_encoder
from train.export import load_encoder

BASELINE = "random start"
PRETRAINED = "pretrained"
_MIN_REPLICATES = 100


@dataclass(frozen=True)
class _RowFeatures:
    """Features by global row number; ``rows`` ascend."""

    rows: npt.NDArray[np.int64]
    values: Features

    def at(self, rows: npt.NDArray[np.int64]) -> Features:
        return self.values[np.searchsorted(self.rows, rows)]


_Features = dict[str, list[_RowFeatures]]  # by start, one of each encoder


def run_linear(config: LinearConfig) -> list[ProbeResult]:
    """Probes every label of ``config``; one result each.

    Raises:
        InputError: no such run, dataset, label or split; a setting out of range; one class only in training or test;
            patients that are in both splits.
    """
    _check_settings(config)
    loaded = load_encoder(config.run)
    index = ShardIndex.open(config.data)
    for label in config.label:
        index.labels(label, config.uncertain)  # refuses an unknown label before anything is computed
    test_split = config.test_split or default_test_split(index)
    train = select(index, split=config.train_split, view=config.view)
    test = select(index, split=test_split, view=config.view)
    require_disjoint(train, test)
    draws = {label: _draws(train, label, config) for label in config.label}
    studies = {label: study_set(test, label, policy=config.uncertain) for label in config.label}
    drawn = np.unique(np.concatenate([draw.drawn_rows for chosen in draws.values() for draw in chosen]))
    used = train.take(np.isin(train.rows, drawn))

    begin = time.perf_counter()
    seeds = [config.seed + number for number in range(config.random_starts)]
    encoders = {
        BASELINE: [build_encoder(loaded.name, seed=seed, norm=loaded.metadata["norm"]) for seed in seeds],
        PRETRAINED: [loaded.encoder],
    }
    features: _Features = {}
    starts: dict[str, Start] = {}
    for name, several in encoders.items():
        features[name] = [_features(encoder, used, test, loaded.views, config, name) for encoder in several]
        starts[name] = Start(
            encoder=loaded.name,
            hashes=[encoder_hash(encoder) for encoder in several],
            num_features=features[name][0].values.shape[1],
            seeds=seeds if name == BASELINE else None,
        )
    feature_seconds = time.perf_counter() - begin

    common: dict[str, Any] = {
        "readout": "linear",
        "command": shlex.join(["python", "-m", "eval", *sys.argv[1:]]),
        "run": str(config.run),
        "starts": starts,
        "baseline": BASELINE,
        "dataset": "+".join(sorted(set(index.column("dataset")))),
        "datasets": list(index.fingerprints),
        "fingerprints": {"train": images_fingerprint(used), "test": images_fingerprint(test)},
        "uncertain": config.uncertain,
        "view": config.view,
        "train_split": config.train_split,
        "test_split": test_split,
        "seed": config.seed,
        "views": asdict(loaded.views.evaluation()),
        "versions": _versions(),
    }
    results = []
    for label in config.label:
        begin = time.perf_counter()
        fractions, resampled = _probe_label(draws[label], studies[label], features, config, label)
        results.append(
            ProbeResult(
                **common,
                label=label,
                test=_test_counts(studies[label]),
                fractions=fractions,
                level=resampled.level,
                num_replicates=config.replicates,
                num_dropped=resampled.num_dropped,
                seconds={"features": feature_seconds, "probes": time.perf_counter() - begin},
            )
        )
    return results


def _check_settings(config: LinearConfig) -> None:
    for option, values in {"--label": config.label, "--fraction": config.fraction}.items():
        if not values:
            raise InputError(f"{option}: no value given; give at least one")
    for share in config.fraction:
        if not 0.0 < share <= 1.0:
            raise InputError(f"--fraction {share:g}: must be above 0 and at most 1; 0.01 means 1 % of the patients")
    if config.draws < 1:
        raise InputError(f"--draws {config.draws}: must be at least 1")
    if config.random_starts < 1:
        raise InputError(f"--random-starts {config.random_starts}: must be at least 1")
    if config.replicates < _MIN_REPLICATES:
        raise InputError(f"--replicates {config.replicates}: an interval needs at least {_MIN_REPLICATES}")
    if config.output is not None and config.output.is_dir():
        raise InputError(f"--output {config.output}: is a folder; name a file in it, such as linear.json")
    if config.output is not None and len(config.label) > 1:
        raise InputError(
            f"--output {config.output}: one file, but {len(config.label)} labels were given; "
            "leave --output away (each label gets its file in the run folder) or give one label"
        )


def _draws(train: ShardIndex, label: str, config: LinearConfig) -> list[LabelledDraw]:
    return [
        labelled_draw(train, label, share, draw=draw, policy=config.uncertain, seed=config.seed)
        for share in sorted(set(config.fraction))
        for draw in range(1 if share == 1.0 else config.draws)  # all labels can be drawn in one way only
    ]


def _features(
    encoder: nn.Module, train: ShardIndex, test: ShardIndex, views: ViewSpec, config: LinearConfig, name: str
) -> _RowFeatures:
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    run_folder = config.run if config.run.is_dir() else config.run.parent
    parts = [
        cached_features(
            run_folder / "eval" / "features",
            encoder,
            split,
            views,
            batch_size=config.batch_size,
            device=device,
            engine=config.engine,
            description=f"features, {name}, {description}",
        )
        for split, description in ((train, "training"), (test, "test"))
    ]
    rows = np.concatenate([train.rows, test.rows])
    order = np.argsort(rows)
    return _RowFeatures(rows[order], np.concatenate(parts)[order])


def _probe_label(
    draws: list[LabelledDraw], studies: StudySet, features: _Features, config: LinearConfig, label: str
) -> tuple[list[FractionResult], Bootstrap]:
    """Fits all draws of one label and resamples the test patients once for all fractions and starts."""
    scores: dict[
        str, list[npt.NDArray[np.floating]]
    ] = {}  # by _model(start, fraction): study scores of each draw and encoder
    by_fraction: dict[float, list[DrawResult]] = {}
    for draw in tqdm(draws, desc=f"probes, {label}", unit="draw"):
        probes = {
            start: [
                fit_probe(rows.at(draw.rows), draw.labels, draw.patients, rows.at(studies.rows), seed=config.seed)
                for rows in several
            ]
            for start, several in features.items()
        }
        study_scores = {start: [studies.scores(probe.scores) for probe in several] for start, several in probes.items()}
        for start, values in study_scores.items():
            scores.setdefault(_model(start, draw.fraction), []).extend(values)
        by_fraction.setdefault(draw.fraction, []).append(
            DrawResult(
                draw=draw.draw,
                num_patients=len(np.unique(draw.patients)),
                num_images=len(draw.rows),
                num_positives=int(draw.labels.sum()),
                is_extended=draw.is_extended,
                is_cross_validated=probes[BASELINE][0].is_cross_validated,
                auroc={start: [auroc(studies.labels, v) for v in values] for start, values in study_scores.items()},
                strength={start: [probe.strength for probe in several] for start, several in probes.items()},
            )
        )
    resampled = bootstrap(
        studies.labels,
        {model: np.stack(values) for model, values in scores.items()},
        studies.patients,
        num_replicates=config.replicates,
        seed=config.seed,
    )
    fractions = [
        FractionResult(
            fraction=share,
            draws=done,
            auroc={start: resampled.interval(_model(start, share)) for start in features},
            difference={
                start: resampled.difference(_model(start, share), _model(BASELINE, share))
                for start in features
                if start != BASELINE
            },
        )
        for share, done in by_fraction.items()
    ]
    return fractions, resampled


def _model(start: str, fraction: float) -> str:
    return f"{start} @ {fraction!r}"


def _test_counts(studies: StudySet) -> TestCounts:
    return TestCounts(
        num_images=len(studies.rows),
        num_studies=len(studies.labels),
        num_patients=len(np.unique(studies.patients)),
        num_positive_studies=int(studies.labels.sum()),
    )


def _versions() -> dict[str, str]:
    names = ("moco-cxr", "torch", "numpy", "scikit-learn")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}
