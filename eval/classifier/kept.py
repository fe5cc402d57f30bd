"""What a classifier is once it is read from its folder: a network, its labels, and what it is to be given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from eval.classifier.calibration import Calibration
from pipeline.views import ViewSpec
from shards.images.store import ImageSpec
from shards.index import ShardIndex

TextReader = Callable[[Sequence[str | None]], tuple[Tensor, Tensor]]
"""Texts to the network's inputs beside the views: ids (B, T) and lengths (B,) int64."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Which encoder a classifier has: its architecture's name, :func:`eval.study.features.encoder_hash`, and the layers
    that are read where it is not what it ends in. ``source``, as ``hf:microsoft/rad-dino``, where a frozen model of
    others is opened from where it is published and not written beside the head."""

    name: str
    hash: str
    source: str = ""
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A classifier, in evaluation mode on the CPU.

    ``network`` takes views (B, 1, S, S) to logits (B, L) of ``labels``, in their order; where ``read_texts`` is there,
    it takes (views, ids, lengths), views being None where it does not read images (``reads_images``).

    Preprocessing is twofold, as in training: a file becomes what ``image`` stores (:func:`shards.images.store
    .store_image`: size, square, JPEG or PNG), and that becomes a view by ``views`` (the largest centred square at
    ``size`` pixels, bilinear, ``(x / 255 - mean) / std``; one channel). ``calibration`` takes logits to probabilities
    and specificities to thresholds.

    ``readout`` is a name of :data:`eval.readouts.registry.READOUTS`; ``trained`` says in plain values what on:
    datasets, fraction of the labels, images, validation images.
    """

    folder: Path
    readout: str
    network: nn.Module
    labels: tuple[str, ...]
    image: ImageSpec
    views: ViewSpec
    calibration: Calibration
    encoder: Encoder | None
    trained: dict[str, Any] = field(default_factory=dict)
    reads_images: bool = True
    read_texts: TextReader | None = None


def trained_on(images: ShardIndex, *, fraction: float, num_valid: int) -> dict[str, Any]:
    """What a classifier's file says of the images it was trained on."""
    datasets = sorted(set(images.column("dataset")))
    return {"datasets": datasets, "fraction": fraction, "images": len(images), "validation_images": num_valid}
