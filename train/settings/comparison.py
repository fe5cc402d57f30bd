"""Recipes for comparing methods on the same images, derived from ``moco_v2plus_resnet18``.

ResNet18 (ViT-S for MoCo v3) from a random start, 224 px, mild crops with brightness and contrast, 100 epochs, 256
images a step and process. Loss, heads, optimiser, learning rate, decay and momentum are each paper's for about 100
epochs, and differences are named. Learning rates are the papers' for 256 images a step and follow the images of a step
by the linear rule. None of these has been run to its end here, so none says what to expect.
"""

from dataclasses import replace

from pipeline.views import PRESETS
from train.settings.config import (
    EncoderConfig,
    MethodConfig,
    OptimizerConfig,
    PretrainConfig,
    RunConfig,
    ScheduleConfig,
)


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


def simclr_resnet18() -> PretrainConfig:
    """SimCLR with ResNet18: the other images of the batch in place of a queue, and no momentum copy.

    Chen et al. 2020 (arXiv 2002.05709): LARS .3, decay 1e-6 except for norms and biases, 10 epochs of warm-up, a
    projector 2,048 wide with embeddings of 128, temperature .1 (their best; table 5). Difference: the paper's step has
    4,096 images; with 256 there are fewer negatives.

        moco-cxr pretrain simclr_resnet18 --data DATASET --output RUN
    """
    return replace(
        moco_v2plus_resnet18(),
        method=MethodConfig(name="simclr", embedding=128, projector_hidden=2048, temperature=0.1),
        optimizer=OptimizerConfig(name="lars", lr=0.3, scaling="linear", base_batch=256, weight_decay=1e-6),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=10),
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


def vicreg_resnet18() -> PretrainConfig:
    """VICReg with ResNet18: embeddings that agree between views, vary over images, and do not repeat themselves.

    Bardes, Ponce, LeCun 2022 (arXiv 2105.04906): LARS .3 for 100 epochs (.2 for 1,000), decay 1e-6 except for norms and
    biases, 10 epochs of warm-up, weights 25, 25 and 1, a projector 8,192 wide in all three layers. Difference: the
    paper's step has 2,048 images.

        moco-cxr pretrain vicreg_resnet18 --data DATASET --output RUN
    """
    return replace(
        moco_v2plus_resnet18(),
        method=MethodConfig(
            name="vicreg",
            embedding=8192,
            projector_hidden=8192,
            invariance_weight=25.0,
            variance_weight=25.0,
            covariance_weight=1.0,
        ),
        optimizer=OptimizerConfig(name="lars", lr=0.3, scaling="linear", base_batch=256, weight_decay=1e-6),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=10),
    )


def swav_resnet18() -> PretrainConfig:
    """SwAV with ResNet18: each view predicts to which prototypes the other is assigned. Two views;
    ``--views.small-crops 6`` adds the paper's multi-crop.

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


def dino_resnet18() -> PretrainConfig:
    """DINO with ResNet18: says what its momentum copy says of the other view. Two views;
    ``dino_multicrop_resnet18`` has small crops besides.

    Caron et al. 2021 (arXiv 2104.14294), with its code's settings for ResNet-50: SGD .03, decay 1e-4, 10 epochs of
    warm-up, momentum .996 to 1 by half a cosine, temperatures .1 of the student and .04 of the teacher, a centre with
    momentum .9, a projector 2,048 wide with a bottleneck of 256; prototypes are frozen for an epoch. Differences: 4,096
    prototypes instead of 65,536, for a step of 256 images; batch norm in the projector.

        moco-cxr pretrain dino_resnet18 --data DATASET --output RUN
    """
    return replace(
        moco_v2plus_resnet18(),
        method=MethodConfig(
            name="dino",
            embedding=256,
            projector_hidden=2048,
            projector_norm=True,
            momentum=0.996,
            momentum_end=1.0,
            temperature=0.1,
            num_prototypes=4096,
            freeze_prototypes_epochs=1.0,
        ),
        optimizer=OptimizerConfig(name="sgd", lr=0.03, scaling="linear", base_batch=256, weight_decay=1e-4),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=10),
    )


def dino_multicrop_resnet18() -> PretrainConfig:
    """DINO with ResNet18 and eight small crops of each image, at 96 px; otherwise ``dino_resnet18``.

    Caron et al. 2021: views of 40 % of the image and more, small crops of 5 to 40 %. Difference: crops are shares of
    the largest square in the image.

        moco-cxr pretrain dino_multicrop_resnet18 --data DATASET --output RUN
    """
    base = dino_resnet18()
    views = replace(base.views, area=(0.4, 1.0), small_crops=8, small_size=96, small_area=(0.05, 0.4))
    return replace(base, views=views)
