"""Settings of end-to-end fine-tuning, and how long it lasts. Free of torch, so that command lines start at once."""

from dataclasses import dataclass
from typing import Any, Literal

from eval.training.config import check_training
from pipeline.options import EngineName


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Fine-tuning of an encoder with a linear head. The defaults are those of the clean protocol; :data:`PUBLISHED`
    are the paper's."""

    lr: float = 1e-3
    """Learning rate of the head, at the top of the schedule; for Adam."""
    encoder_factor: float = 0.1
    """The encoder learns at this share of it."""
    layer_decay: float = 1.0
    """Each stage of the encoder (block, in a vision transformer) learns at this share of the rate of the next one."""
    weight_decay: float = 0.0
    """Decoupled (AdamW), for all but norms and biases."""
    gradient_clipping: float = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """``cosine`` ends at 0."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises from 0."""
    batch_size: int = 32
    """Images an optimiser step, over all processes; fewer where fewer are labelled."""
    epochs: float | None = None
    """Passes over the labelled images; default: about 5, 23, 107, 500 at 100, 10, 1, 0.1 % of the labels."""
    min_steps: int = 300
    """Optimiser steps at least: a few epochs of a small dataset are too short to learn anything."""
    max_steps: int | None = None
    """Optimiser steps at most, for small machines."""
    validations: int = 20
    """How often the validation images are scored, in even intervals."""
    patience: int = 6
    """Ends behind so many validations without a better AUROC; 0 goes to the end."""
    average: int = 1
    """Checkpoints, ranked for each label on the validation images, whose probabilities are averaged. 1 keeps the one
    with the best mean AUROC for all labels."""
    class_weights: Literal["none", "balanced"] = "none"
    """``balanced``: positives weigh as much as negatives in the loss, label by label."""
    norm: Literal["auto", "frozen", "trained"] = "auto"
    """``frozen``: batch norm keeps its running statistics. ``auto``: frozen, but trained where the encoder has none, at
    a random start."""
    augmentation: Literal["moco_cxr", "crop_contrast", "moco_v2", "evaluation"] = "moco_cxr"
    """Preset of the views in training; size, normalisation and fill are the encoder's. ``evaluation``: none."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What convolutions and matrix products are computed in; weights, head and loss are fp32. ``auto``: bf16 where the
    hardware has it."""
    num_processes: int = 1
    """Processes that share each batch, one a GPU; more than one are started by the deepspeed launcher."""
    checkpoint_every: int = 500
    """Optimiser steps between checkpoints, from which an interrupted cell goes on."""
    keep_model: bool = False
    """Write the fine-tuned encoder and its head into the cell's folder."""
    engine: EngineName = "auto"
    """Loading engine."""
    seed: int = 0
    """Of the head and of the order and views of the images."""


# Sowrirajan et al. 2021 and its reference code: Adam 1e-4 for all, constant, batches of 16, batch norm in training
# mode, up to ten checkpoints averaged.
PUBLISHED: dict[str, Any] = {
    "lr": 1e-4,
    "encoder_factor": 1.0,
    "schedule": "constant",
    "warmup": 0.0,
    "batch_size": 16,
    "min_steps": 0,
    "patience": 0,
    "average": 10,
    "norm": "trained",
}


def check_finetune(config: FinetuneConfig) -> None:
    """Refuses settings out of range.

    Raises:
        InputError: naming the field.
    """
    check_training("finetune", config, {"layer_decay": (0 < config.layer_decay <= 1, "above 0 and at most 1")})
