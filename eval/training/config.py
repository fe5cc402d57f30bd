"""Settings that every supervised training has, their checks, and how long it lasts. Free of torch, so that command
lines start at once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from eval.study.protocol import ProtocolName
from pipeline.options import EngineName
from shards.base.bounds import Count, PositiveCount, Rate, RateOrZero, Share, ShareBelowOne, SmallSeed
from shards.base.dataclass_io import check_fields, to_mapping
from shards.base.errors import InputError

Batch = Annotated[int, Field(ge=1, le=1_000_000)]
Epochs = Annotated[float, Field(gt=0, le=1e6)]
Clipping = Annotated[float, Field(ge=0, le=1e9)]
Processes = Annotated[int, Field(ge=1, le=1024)]
_FREE = ("num_processes", "checkpoint_every", "keep_model", "engine")  # change how something is computed, not what
# MoCo-CXR's supervised stage on CheXpert: share of the labels, epochs.
_PAPER_EPOCHS = {0.001: 500.0, 0.01: 107.0, 0.1: 23.0, 1.0: 5.0}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Training of a model on labelled images, by AdamW with early stopping."""

    section: ClassVar[str]
    """What errors call these settings, as in ``section.lr``."""
    published: ClassVar[Mapping[str, Any]] = {}
    """What the paper's protocol has in place of defaults."""

    lr: Rate
    """Learning rate of what is new, at the top of the schedule."""
    encoder_factor: Share = 0.1
    """The encoder learns at this share of it."""
    weight_decay: RateOrZero
    """Decoupled (AdamW), for all but norms and biases."""
    gradient_clipping: Clipping
    """Largest gradient norm; 0 leaves gradients alone."""
    schedule: Literal["linear", "cosine", "constant"]
    """``linear`` and ``cosine`` end at 0."""
    warmup: ShareBelowOne
    """Share of the steps in which the rate rises from 0."""
    batch_size: Batch = 32
    """Images an optimiser step, over all processes; fewer where fewer are labelled."""
    epochs: Epochs | None = None
    """Passes over the labelled images; default: about 5, 23, 107, 500 at 100, 10, 1, 0.1 % of the labels."""
    min_steps: Count
    """Optimiser steps at least."""
    max_steps: PositiveCount | None = None
    """Optimiser steps at most, for small machines."""
    validations: PositiveCount = 20
    """How often the validation images are scored, in even intervals."""
    patience: Count = 6
    """Ends behind so many validations without a better AUROC; 0 goes to the end."""
    average: PositiveCount = 1
    """Checkpoints, ranked for each label on the validation images, whose probabilities are averaged. 1 keeps the one
    with the best mean AUROC for all labels."""
    class_weights: Literal["none", "balanced"]
    """``balanced``: positives weigh as much as negatives in the loss, label by label."""
    norm: Literal["auto", "frozen", "trained"] = "auto"
    """``frozen``: batch norm keeps its running statistics. ``auto``: frozen, but trained where the encoder has none, at
    a random start."""
    augmentation: Literal["moco_cxr", "crop_contrast", "moco_v2", "evaluation"] = "moco_cxr"
    """Preset of the views in training; size, normalisation and fill are the encoder's. ``evaluation``: none."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """What convolutions and matrix products are computed in; weights, head and loss are fp32. ``auto``: bf16 where the
    hardware has it and gains by it. ``tf32``: fp32 rounded to TF32 by GPUs; ``fp32`` is fp32 there too."""
    num_processes: Processes = 1
    """Processes that share each batch, one a GPU; more than one are started by the command itself."""
    checkpoint_every: PositiveCount = 500
    """Optimiser steps between checkpoints, from which an interrupted cell goes on."""
    keep_model: bool = False
    """Write the trained model into the cell's folder."""
    engine: EngineName = "auto"
    """Loading engine."""
    seed: SmallSeed = 0
    """Of the new weights and of the order and views of the images."""

    def check(self) -> None:
        """Refuses settings out of range.

        Raises:
            InputError: naming the fields.
        """
        check_fields(self, self.section)
        self.require(
            "batch_size", self.batch_size % self.num_processes == 0, f"a multiple of the {self.num_processes} processes"
        )

    def require(self, field: str, is_right: bool, wanted: str) -> None:
        """Refuses a value that a bound cannot tell."""
        if not is_right:
            raise InputError(f"{self.section}.{field} {getattr(self, field)}: out of range; give {wanted}")

    def within(self, *, protocol: ProtocolName, seed: int) -> Self:
        """These settings in a comparison: what was not asked for is as in the paper under ``published``."""
        defaults = {each.name: each.default for each in fields(self)}
        papers = self.published if protocol == "published" else {}
        changes = {name: value for name, value in papers.items() if getattr(self, name) == defaults[name]}
        return replace(self, **changes, seed=seed + self.seed)

    def decisive(self) -> dict[str, Any]:
        """The settings that decide what comes out, in plain values, and not only how fast."""
        return {name: value for name, value in to_mapping(self).items() if name not in _FREE}


def default_epochs(fraction: float) -> float:
    """Epochs at a share of the labels: the paper's four, straight lines between them in the logarithms of both."""
    shares, epochs = zip(*sorted(_PAPER_EPOCHS.items()), strict=True)
    return float(np.exp(np.interp(math.log(fraction), np.log(shares), np.log(epochs))))


def num_steps(config: TrainingConfig, *, fraction: float, num_images: int) -> int:
    """Optimiser steps for ``num_images`` labelled images, which are ``fraction`` of what there is."""
    epochs = default_epochs(fraction) if config.epochs is None else config.epochs
    steps = max(math.ceil(epochs * num_images / min(config.batch_size, num_images)), config.min_steps, 1)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def validation_steps(config: TrainingConfig, steps: int) -> set[int]:
    """Steps behind which the validation images are scored; the last one is always among them."""
    return {math.ceil(steps * number / config.validations) for number in range(1, config.validations + 1)}
