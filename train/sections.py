"""The sections of a pretraining run's settings. Every field is an option of the command line: ``--section.field``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.options import DamagePolicy, EngineName


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which rows of the datasets are trained on. Labels are never read."""

    split: str = "train"
    """Split of the index, or ``all``."""
    view: Literal["all", "frontal", "lateral"] = "all"
    """View position."""
    fraction: float = 1.0
    """Share of the patients, above 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The network that is kept."""

    name: Literal["resnet18", "resnet50", "densenet121"] = "resnet18"
    """Architecture, with torchvision's parameter names and one input channel."""
    weights: str = "random"
    """``random``, ``imagenet`` (torchvision's, downloaded) or a file of torchvision weights (.pth)."""
    channels_last: bool = True
    """Channels-last activations: 1.1 times the speed of ResNet18 on a CPU; meant for GPUs in bf16."""


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """The self-supervised method."""

    name: Literal["moco_v2"] = "moco_v2"
    momentum: float = 0.999
    """Share of the key encoder that is kept at each step."""
    temperature: float = 0.2
    queue_size: int = 24_576
    """Past keys that serve as negatives. At most the number of images, or an image meets itself as a negative."""
    embedding: int = 128
    """Width of the embedding that is contrasted."""
    projector_hidden: int = 0
    """Width of the projector's hidden layer; 0 is the width of the encoder's features."""
    projector_norm: bool = False
    """Batch norm behind both layers of the projector, as in MoCo v3 (Chen et al. 2021). Without it, large steps at a
    random start can move all embeddings together, away from the older keys in the queue, instead of telling images
    apart: pretext accuracy near 100 % with uniformity near 0."""


@dataclass(frozen=True, kw_only=True)
class NormConfig:
    """What keeps batch norm from leaking which key belongs to which query."""

    strategy: Literal["auto", "split", "shuffle", "group"] = "auto"
    """``split``: statistics of groups inside each rank, keys grouped anew. ``shuffle``: keys are dealt to other ranks
    (needs several processes; costs an all-gather of the images). ``group``: group norm instead of batch norm.
    ``auto``: split with one process, shuffle with several."""
    num_groups: int = 4
    """Groups inside a rank for ``split``; divides the batch size."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights follow gradients."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-4
    """Learning rate at the top of the schedule."""
    weight_decay: float = 1e-4
    """L2 penalty for adam and sgd, decoupled decay for adamw."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Averaging of gradient and squared gradient, for adam and adamw."""
    sgd_momentum: float = 0.9
    """For sgd."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate changes, step by step."""

    name: Literal["constant", "step", "cosine"] = "cosine"
    """``cosine`` ends at 0; ``step`` multiplies by ``gamma`` at each milestone."""
    warmup_epochs: float = 0.0
    """Linear rise from 0 at the start."""
    milestones: tuple[float, ...] = ()
    """Epochs, for ``step``."""
    gamma: float = 0.1
    """Factor at a milestone, for ``step``."""


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How images become views, and in which order."""

    engine: EngineName = "auto"
    """``resident`` decodes each image once and keeps its pixels; ``dali`` and ``kornia`` decode each time. ``auto``:
    resident where the pixels fit, else dali on a GPU and kornia on a CPU."""
    shuffle: Literal["auto", "global", "shards"] = "auto"
    """``global``: all images. ``shards``: shard by shard, a few at a time, for data that is not on a local disk.
    ``auto``: global, but shards where a dataset is remote."""
    weights: tuple[float, ...] | None = None
    """One for each dataset of --data: its share of the images of an epoch, whatever its size."""
    threads: int = 0
    """Decoding threads a process; 0 takes this process's share of the cores, at most 16."""
    resident_gb: float = 0.0
    """Gigabytes that decoded pixels may take; 0 is half of the memory that is free."""
    on_damage: DamagePolicy = "error"
    """What becomes of an image that is no longer as it was packed: stop, or ``skip`` it with a count."""
    checksums: bool = True
    """Compare each image read with its checksum in the index, at a few percent of its decoding."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long, how large, how fast, and what is written when."""

    epochs: int = 20
    batch_size: int = 128
    """Images a process and a step."""
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """What convolutions and matrix products are computed in; all state stays fp32. ``auto``: bf16 on GPUs and on CPUs
    with AVX512-BF16 or AMX, else fp32."""
    zero_stage: int = 0
    """DeepSpeed ZeRO stage, 0 to 2."""
    gradient_accumulation: int = 1
    """Batches whose gradients are added up before each optimiser step."""
    gradient_clipping: float = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    deepspeed: Path | None = None
    """A DeepSpeed JSON of your own, merged over the generated one."""
    deterministic: bool = False
    """Deterministic kernels on GPUs, at some cost; CPUs are deterministic anyway."""
    checkpoint_every: int = 500
    """Optimiser steps between checkpoints; the end of the run always writes one."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept."""
    log_every: int = 20
    """Optimiser steps between lines of metrics. Only then are values read back from the device."""
