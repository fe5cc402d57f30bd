"""Settings that every supervised training has: how long, how often it is validated, and their checks."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from shards.base.errors import InputError

# MoCo-CXR's supervised stage on CheXpert: share of the labels, epochs.
_PAPER_EPOCHS = {0.001: 500.0, 0.01: 107.0, 0.1: 23.0, 1.0: 5.0}


class LengthConfig(Protocol):
    """The settings that decide how long a training lasts, and how often it is looked at."""

    @property
    def batch_size(self) -> int: ...
    @property
    def epochs(self) -> float | None: ...
    @property
    def min_steps(self) -> int: ...
    @property
    def max_steps(self) -> int | None: ...
    @property
    def validations(self) -> int: ...


def default_epochs(fraction: float) -> float:
    """Epochs at a share of the labels: the paper's four, straight lines between them in the logarithms of both."""
    shares, epochs = zip(*sorted(_PAPER_EPOCHS.items()), strict=True)
    return float(np.exp(np.interp(math.log(fraction), np.log(shares), np.log(epochs))))


def num_steps(config: LengthConfig, *, fraction: float, num_images: int) -> int:
    """Optimiser steps for ``num_images`` labelled images, which are ``fraction`` of what there is."""
    epochs = default_epochs(fraction) if config.epochs is None else config.epochs
    steps = max(math.ceil(epochs * num_images / min(config.batch_size, num_images)), config.min_steps, 1)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def validation_steps(config: LengthConfig, steps: int) -> set[int]:
    """Steps behind which the validation images are scored; the last one is always among them."""
    return {math.ceil(steps * number / config.validations) for number in range(1, config.validations + 1)}


def check_training(section: str, config: Any, own: Mapping[str, tuple[bool, str]]) -> None:
    """Refuses the first field that is out of range, of those that every training has, and of its own.

    Args:
        own: by field, whether it is right, and what is.

    Raises:
        InputError: naming the field.
    """
    checks = {
        **own,
        "lr": (config.lr > 0, "a number above 0"),
        "encoder_factor": (0 < config.encoder_factor <= 1, "above 0 and at most 1"),
        "weight_decay": (config.weight_decay >= 0, "0 or more"),
        "gradient_clipping": (config.gradient_clipping >= 0, "0 or more"),
        "warmup": (0 <= config.warmup < 1, "0 to below 1"),
        "epochs": (config.epochs is None or config.epochs > 0, "a number above 0"),
        "min_steps": (config.min_steps >= 0, "0 or more"),
        "max_steps": (config.max_steps is None or config.max_steps >= 1, "1 or more"),
        "validations": (config.validations >= 1, "1 or more"),
        "patience": (config.patience >= 0, "0 or more"),
        "average": (config.average >= 1, "1 or more"),
        "num_processes": (config.num_processes >= 1, "1 or more"),
        "checkpoint_every": (config.checkpoint_every >= 1, "1 or more"),
        "batch_size": (
            config.batch_size >= 1 and config.batch_size % max(1, config.num_processes) == 0,
            f"1 or more, a multiple of the {config.num_processes} process(es)",
        ),
    }
    for name, (is_right, wanted) in checks.items():
        if not is_right:
            raise InputError(f"{section}.{name} {getattr(config, name)}: out of range; give {wanted}")
