"""Recipes: functions that return a full configuration, derived from one another.

``moco_v2plus_resnet18`` and those derived from it are for comparing methods on the same images: ResNet18 (ViT-S for
MoCo v3) from a random start, 224 px, mild crops with brightness and contrast, 100 epochs, 256 images a step and
process. Loss, heads, optimiser, learning rate, decay and momentum are each paper's for about 100 epochs, and
differences are named. Learning rates are the papers' for 256 images a step and follow the images of a step by the
linear rule. None of these has been run to its end here, so none says what to expect.
"""

import difflib
from collections.abc import Callable
from dataclasses import replace

from pipeline.views import PRESETS
from shards.base.errors import InputError
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


def moco_v2plus_resnet18() -> PretrainConfig:
    """MoCo v2+ with ResNet18: each view is the query of the other's key, and the momentum rises.

    Chen, Fan, Girshick, He 2020 (arXiv 2003.04297) with the loss taken both ways: SGD .03, decay 1e-4, temperature .2,
    momentum .99 to .999 by half a cosine. Difference: a queue of 24,576 as in MoCo-CXR instead of 65,536, so that it
    stays below the number of images. Other images of a patient are no negatives with ``--method.mask-same-patient``.

        moco-cxr pretrain moco_v2plus_resnet18 --data DATASET --output RUN
    """
    return PretrainConfig(
        views=replace(PRESETS["crop_contrast"], size=224),
        encoder=EncoderConfig(name="resnet18", weights="random"),
        method=MethodConfig(name="moco_v2plus", momentum=0.99, momentum_end=0.999, temperature=0.2, queue_size=24_576),
        optimizer=OptimizerConfig(name="sgd", lr=0.03, scaling="linear", base_batch=256, weight_decay=1e-4),
        schedule=ScheduleConfig(name="cosine"),
        run=RunConfig(epochs=100, batch_size=256, log_every=50, checkpoint_every=1000),
    )


def moco_v3_vit_small() -> PretrainConfig:
    """MoCo v3 with ViT-S/16: a predictor, and the other images of the batch in place of a queue.

    Chen, Xie, He 2021 (arXiv 2104.02057): AdamW 1.5e-4, decay .1, 40 epochs of warm-up, temperature .2, momentum .99 to
    1 by half a cosine, heads 4,096 wide with embeddings of 256; the paper's network, with 12 heads and a patch
    projection that is not trained. Difference: the paper's step has 4,096 images, over many processes; with 256 there
    are fewer negatives.

        moco-cxr pretrain moco_v3_vit_small --data DATASET --output RUN
    """
    return replace(
        moco_v2plus_resnet18(),
        encoder=EncoderConfig(name="vit_small_moco_v3", weights="random"),
        method=MethodConfig(
            name="moco_v3",
            embedding=256,
            projector_hidden=4096,
            predictor_hidden=4096,
            momentum=0.99,
            momentum_end=1.0,
            temperature=0.2,
        ),
        optimizer=OptimizerConfig(name="adamw", lr=1.5e-4, scaling="linear", base_batch=256, weight_decay=0.1),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=40),
    )


def simsiam_resnet18() -> PretrainConfig:
    """SimSiam with ResNet18: no negatives and no momentum copy.

    Chen and He 2021 (arXiv 2011.10566): SGD .05, decay 1e-4, a projector 2,048 wide and a predictor of 512. Difference:
    the predictor's learning rate falls with the others', while the paper keeps it constant.

        moco-cxr pretrain simsiam_resnet18 --data DATASET --output RUN
    """
    return replace(
        moco_v2plus_resnet18(),
        method=MethodConfig(name="simsiam", embedding=2048, projector_hidden=2048, predictor_hidden=512),
        optimizer=OptimizerConfig(name="sgd", lr=0.05, scaling="linear", base_batch=256, weight_decay=1e-4),
    )


def byol_resnet18() -> PretrainConfig:
    """BYOL with ResNet18: predicts what its momentum copy makes of the other view.

    Grill et al. 2020 (arXiv 2006.07733), with its settings for 100 epochs: LARS .45, decay 1e-6 except for norms and
    biases, 10 epochs of warm-up, momentum .99 to 1 by half a cosine, heads 4,096 wide with embeddings of 256.
    Difference: the paper's step has 4,096 images.

        moco-cxr pretrain byol_resnet18 --data DATASET --output RUN
    """
    return replace(
        moco_v2plus_resnet18(),
        method=MethodConfig(
            name="byol",
            embedding=256,
            projector_hidden=4096,
            predictor_hidden=4096,
            momentum=0.99,
            momentum_end=1.0,
        ),
        optimizer=OptimizerConfig(name="lars", lr=0.45, scaling="linear", base_batch=256, weight_decay=1e-6),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=10),
    )


def barlow_twins_resnet18() -> PretrainConfig:
    """Barlow Twins with ResNet18: embeddings whose dimensions agree between views and differ from each other.

    Zbontar et al. 2021 (arXiv 2103.03230): LARS .2, decay 1.5e-6 except for norms and biases, 10 epochs of warm-up,
    redundancy weight .005, a projector 8,192 wide in all three layers, which makes it twelve times the encoder.
    Differences: norms and biases learn at the same rate as weights, the paper's at .0048; its step has 2,048 images.

        moco-cxr pretrain barlow_twins_resnet18 --data DATASET --output RUN
    """
    return replace(
        moco_v2plus_resnet18(),
        method=MethodConfig(name="barlow_twins", embedding=8192, projector_hidden=8192, redundancy=0.005),
        optimizer=OptimizerConfig(name="lars", lr=0.2, scaling="linear", base_batch=256, weight_decay=1.5e-6),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=10),
    )


def swav_resnet18() -> PretrainConfig:
    """SwAV with ResNet18: each view predicts to which prototypes the other is assigned. Two views, no multi-crop.

    Caron et al. 2020 (arXiv 2006.09882): LARS .3 (4.8 for 4,096 images), decay 1e-6, 10 epochs of warm-up, temperature
    .1, assignments of softness .05 in 3 iterations, a projector 2,048 wide with embeddings of 128. Differences: 512
    prototypes instead of 3,000, since a step of 256 images could not fill so many and there is no queue of embeddings;
    prototypes are not frozen at the start; no decay of norms and biases.

        moco-cxr pretrain swav_resnet18 --data DATASET --output RUN
    """
    return replace(
        moco_v2plus_resnet18(),
        method=MethodConfig(
            name="swav",
            embedding=128,
            projector_hidden=2048,
            temperature=0.1,
            num_prototypes=512,
            sinkhorn_iterations=3,
            sinkhorn_epsilon=0.05,
        ),
        optimizer=OptimizerConfig(name="lars", lr=0.3, scaling="linear", base_batch=256, weight_decay=1e-6),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=10),
    )


def small_resnet18() -> PretrainConfig:
    """ResNet18 at 64 px from a random start, for CPUs and for some thousands of images.

    Made for a few hundred steps. Mild crops with brightness and contrast: at this size rotation and flip alone solve
    the task without learning much that a probe can use. Large steps and a fast key encoder, kept from collapsing by
    batch norm in the projector; a short queue, below the number of images.

        moco-cxr pretrain small_resnet18 --data DATASET --output RUN
    """
    return PretrainConfig(
        views=replace(PRESETS["crop_contrast"], size=64),
        encoder=EncoderConfig(name="resnet18", weights="random"),
        method=MethodConfig(momentum=0.95, temperature=0.2, queue_size=1024, projector_norm=True),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=1e-4),
        schedule=ScheduleConfig(name="cosine"),
        run=RunConfig(epochs=10, batch_size=64, log_every=10, checkpoint_every=100),
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
        moco_v2plus_resnet18,
        moco_v3_vit_small,
        simsiam_resnet18,
        byol_resnet18,
        barlow_twins_resnet18,
        swav_resnet18,
        small_resnet18,
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
