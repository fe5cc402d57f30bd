"""Recipes: functions that return a full configuration, derived from one another. Those that compare methods on the same
images stand in :mod:`train.settings.comparison`."""

import difflib
from collections.abc import Callable
from dataclasses import replace

from pipeline.views import PRESETS
from shards.base.errors import InputError
from train.settings import comparison
from train.settings.config import (
    EncoderConfig,
    MethodConfig,
    OptimizerConfig,
    PretrainConfig,
    RunConfig,
    ScheduleConfig,
)

RANDOM_FACTOR = 5.0
"""MoCo-CXR's learning rate from a random start, as a multiple of that from ImageNet weights."""


def moco_cxr_resnet18() -> PretrainConfig:
    """MoCo-CXR with ResNet18 from ImageNet weights, as published.

    Sowrirajan, Yang, Ng, Rajpurkar, MIDL 2021 (arXiv 2010.05352): all 223,414 CheXpert training images, frontal and
    lateral, 20 epochs of Adam with two drops of the learning rate, batch 16.

        moco-cxr pretrain moco_cxr_resnet18 --data DATASET --output RUN

    Expected: pleural effusion AUC of a linear probe on the 500-study test .776 / .838 / .848 / .850 with .1 / 1 / 10 /
    100 % of the labels. The reference ran at about 123 images/s, which makes 10 hours; the size here is unmeasured.
    From a random start: ``moco_cxr_resnet18_random``.
    """
    return PretrainConfig(
        views=PRESETS["moco_cxr"],
        encoder=EncoderConfig(name="resnet18", weights="imagenet"),
        method=MethodConfig(momentum=0.999, temperature=0.2, queue_size=24_576),
        optimizer=OptimizerConfig(name="adam", lr=1e-4, weight_decay=1e-4),
        schedule=ScheduleConfig(name="step", milestones=(12, 18), gamma=0.1),
        run=RunConfig(epochs=20, batch_size=16, log_every=100, checkpoint_every=2000),
    )


def moco_cxr_resnet18_random() -> PretrainConfig:
    """MoCo-CXR with ResNet18 from a random start: five times the learning rate, otherwise ``moco_cxr_resnet18``.

        moco-cxr pretrain moco_cxr_resnet18_random --data DATASET --output RUN

    Not run to its end here. A pretext accuracy near 100 % with uniformity near 0 means that large steps have moved all
    embeddings together; then give ``--method.projector-norm``.
    """
    return _from_random(moco_cxr_resnet18())


def moco_cxr_densenet121() -> PretrainConfig:
    """MoCo-CXR with DenseNet121 from ImageNet weights, as published; otherwise as ``moco_cxr_resnet18``.

        moco-cxr pretrain moco_cxr_densenet121 --data DATASET --output RUN

    Expected: pleural effusion AUC of a linear probe on the 500-study test .775 / .833 / .839 / .845 with .1 / 1 / 10 /
    100 % of the labels.
    """
    return replace(moco_cxr_resnet18(), encoder=EncoderConfig(name="densenet121", weights="imagenet"))


def moco_cxr_densenet121_random() -> PretrainConfig:
    """MoCo-CXR with DenseNet121 from a random start: five times the learning rate, otherwise ``moco_cxr_densenet121``.

        moco-cxr pretrain moco_cxr_densenet121_random --data DATASET --output RUN

    Not run to its end here; watch uniformity as in ``moco_cxr_resnet18_random``.
    """
    return _from_random(moco_cxr_densenet121())


def small_resnet18() -> PretrainConfig:
    """ResNet18 at 64 px from a random start, for CPUs and for some thousands of images.

    Made for a few hundred steps: on 5,689 real X-rays three epochs of 88 steps gave all that ten or twenty did
    (docs/study.md). Mild crops with brightness and contrast, a fast key encoder, kept from collapsing by batch norm in
    the projector, and a short queue, below the number of images. Of the learning rates 1e-3, 3e-4 and 1e-4 the middle
    one was best there.

        moco-cxr pretrain small_resnet18 --data DATASET --output RUN
    """
    return PretrainConfig(
        views=replace(PRESETS["crop_contrast"], size=64),
        encoder=EncoderConfig(name="resnet18", weights="random"),
        method=MethodConfig(momentum=0.95, temperature=0.2, queue_size=1024, projector_norm=True),
        optimizer=OptimizerConfig(name="adamw", lr=3e-4, weight_decay=1e-4),
        schedule=ScheduleConfig(name="cosine"),
        run=RunConfig(epochs=10, batch_size=64, log_every=10, checkpoint_every=100),
    )


def tiny_resnet18() -> PretrainConfig:
    """ResNet18 at 64 px from a random start, for a few hundred images, from 128 on.

    Small batches over many epochs, some hundreds of steps, at 5e-4 behind a warm-up. So few images teach little:
    trained weights as a start, at a fifth of the rate, are mostly worth more.

        moco-cxr pretrain tiny_resnet18 --data DATASET --output RUN
    """
    small = small_resnet18()
    return replace(
        small,
        method=replace(small.method, queue_size=128),
        optimizer=replace(small.optimizer, lr=5e-4),
        schedule=replace(small.schedule, warmup_epochs=5),
        run=replace(small.run, epochs=50, batch_size=32),
    )


def debug() -> PretrainConfig:
    """One epoch at 32 px, batch 16, queue 32: runs anywhere in seconds and learns nothing.

    moco-cxr pretrain debug --data DATASET --output RUN
    """
    small = small_resnet18()
    return replace(
        small,
        views=replace(small.views, size=32),
        method=replace(small.method, queue_size=32, embedding=32),
        run=replace(small.run, epochs=1, batch_size=16, log_every=2, checkpoint_every=3),
    )


def _from_random(config: PretrainConfig) -> PretrainConfig:
    """MoCo-CXR's rule for random starts."""
    return replace(
        config,
        encoder=replace(config.encoder, weights="random"),
        optimizer=replace(config.optimizer, lr=RANDOM_FACTOR * config.optimizer.lr),
    )


RECIPES: dict[str, Callable[[], PretrainConfig]] = {
    make.__name__: make
    for make in (
        moco_cxr_resnet18,
        moco_cxr_resnet18_random,
        moco_cxr_densenet121,
        moco_cxr_densenet121_random,
        comparison.moco_v2plus_resnet18,
        comparison.moco_v3_vit_small,
        comparison.simclr_resnet18,
        comparison.simsiam_resnet18,
        comparison.byol_resnet18,
        comparison.barlow_twins_resnet18,
        comparison.vicreg_resnet18,
        comparison.swav_resnet18,
        comparison.dino_resnet18,
        comparison.dino_multicrop_resnet18,
        small_resnet18,
        tiny_resnet18,
        debug,
    )
}


def recipe(name: str) -> PretrainConfig:
    """The recipe of that name.

    Raises:
        InputError: there is none, with the nearest name.
    """
    if name not in RECIPES:
        nearest = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise InputError(f"recipe {name!r}: unknown; {hint}recipes are {', '.join(RECIPES)}")
    return replace(RECIPES[name](), recipe=name)
