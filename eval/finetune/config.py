"""Settings of end-to-end fine-tuning. Free of torch, so that command lines start at once."""

from dataclasses import dataclass
from typing import Any, Literal

from eval.training.config import Clipping, TrainingConfig
from shards.base.bounds import Count, Rate, RateOrZero, Share, ShareBelowOne, SmallSeed

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


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TrainingConfig):
    """Fine-tuning of an encoder with a linear head. The defaults are those of the clean protocol; :data:`PUBLISHED`
    are the paper's."""

    section = "finetune"
    published = PUBLISHED

    lr: Rate = 1e-3
    """Learning rate of the head, at the top of the schedule; for Adam."""
    layer_decay: Share = 1.0
    """Each stage of the encoder (block, in a vision transformer) learns at this share of the rate of the next one."""
    weight_decay: RateOrZero = 0.0
    gradient_clipping: Clipping = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    """``cosine`` ends at 0."""
    warmup: ShareBelowOne = 0.05
    min_steps: Count = 300
    """Optimiser steps at least: a few epochs of a small dataset are too short to learn anything."""
    class_weights: Literal["none", "balanced"] = "none"
    keep_model: bool = False
    """Write the fine-tuned encoder and its head into the cell's folder."""
    seed: SmallSeed = 0
    """Of the head and of the order and views of the images."""
