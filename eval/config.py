"""Settings of the evaluations. Free of torch, so that the command line can describe itself at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from eval.protocol import ViewChoice
from pipeline.options import EngineName
from shards.index import LabelPolicy


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """Probes frozen features with logistic regression at label fractions, against random starts."""

    run: Path
    """Run folder of the pretraining, or an encoder.safetensors file."""
    data: Path
    """Dataset folder to probe on, as `python -m shards build` wrote it."""
    label: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LABEL [LABEL ...]")]
    """One or more labels of the dataset."""
    fraction: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Shares of the training patients whose labels are used."""
    draws: int = 5
    """Random draws of each fraction below 1."""
    train_split: str = "train"
    """Split whose labels are learnt."""
    test_split: str | None = None
    """Split that is scored; default: test if the dataset has one, else valid."""
    view: ViewChoice = "all"
    """View position, in training and test."""
    uncertain: LabelPolicy = "ignore"
    """What an uncertain label counts as."""
    replicates: int = 1000
    """Bootstrap resamples of the test patients."""
    random_starts: int = 3
    """Random starts to average over: one alone differs from the next by some hundredths."""
    seed: int = 0
    """Seed of the draws, folds and resamples, and of the first random start."""
    output: Path | None = None
    """Result file, for one label; default: eval/linear-DATASET-LABEL.json in the run folder."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where features are computed; auto: a GPU if there is one."""
    engine: EngineName = "auto"
    """Loading engine."""
    batch_size: int = 64
    """Images in one forward pass."""
