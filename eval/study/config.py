"""Settings of a cohort. Free of torch and of the index, so that command lines start at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from eval.study.protocol import ProtocolName, SplitRule, ViewChoice
from shards.base.bounds import SmallSeed
from shards.options import LabelPolicy


@dataclass(frozen=True, kw_only=True)
class CohortConfig:
    """On what, and by which rules."""

    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DATASET [DATASET ...]")]
    """Dataset folders, as `moco-cxr shards build` wrote them; several count as one."""
    label: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LABEL [LABEL ...]")]
    """One or more labels, all learnt at once; all: every label of the dataset that can be learnt and tested."""
    draws: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Random draws of each fraction below 1, or of each number of shots; default: 5, or those of the split rule."""
    draw_file: Path | None = None
    """Draws that `moco-cxr eval draws export` wrote, in place of drawing."""
    protocol: ProtocolName = "clean"
    """clean: draws by patient, nested; published: MoCo-CXR's, draws by image, resampling of studies; cross-validated:
    as clean, in folds of patients, so that every image of the dataset is tested once."""
    folds: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Folds of patients under cross-validated; default: 5."""
    uncertain: LabelPolicy = "ignore"
    """What an uncertain label counts as."""
    view: ViewChoice = "all"
    """View position, in training and test."""
    train_split: str = "train"
    """Split whose labels are learnt."""
    valid_split: str | None = None
    """Split that choices are made on; default: valid, or a tenth of the training patients."""
    test_split: str | None = None
    """Split that is scored; default: test if the dataset has one, else valid."""
    split_rule: SplitRule = "dataset"
    """shenzhen: 65 / 15 / 20 % by class, whatever splits the dataset has."""
    left_out: str | None = None
    """Dataset to test on, all of it, while the others are learnt from: the leave-hospital-out test."""
    seed: SmallSeed = 0
    """Of the draws, folds, resamples, fine-tuning, and of the first random start."""
