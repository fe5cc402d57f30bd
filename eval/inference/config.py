"""Settings of predictions and embeddings. Free of torch, so that command lines start at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from eval.training.config import Batch
from shards.base.bounds import Count, PositiveCount, Side, Workers

Level = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class GivenConfig:
    """On what images, and how."""

    input: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FOLDER|ZIP|FILE|DATASET [...]")]
    """What holds the images: folders or zips of DICOM, PNG, JPEG and what else can be packed, such files, datasets."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs; auto: a GPU if there is one."""
    batch_size: Batch = 32
    """Images in one forward pass."""
    workers: Workers = -1
    """Processes that read and decode files; -1 takes all cores."""


@dataclass(frozen=True, kw_only=True)
class PredictConfig(GivenConfig):
    """Which classifier, and what is written of what it says."""

    model: Path
    """What --finetune.keep-model, --linear.keep-model or --multimodal.keep-model wrote: the folder of a cell
    (cells/.../*.run), a file in it, or the folder of results around a single one."""
    specificity: Level | None = None
    """Also say which images are positive, at the threshold that this share of the negative validation images stay
    under."""
    texts: Path | None = None
    """List (.csv, .tsv) of the indications, for a model that reads them; a dataset has its own."""
    path_column: str = "path"
    """Column of the list that names the image as the output does, by path or by key."""
    text_column: str = "indication"
    """Column of the list that holds the text."""
    explain: Count = 0
    """Write Grad-CAM pictures of so many images, those with the highest probabilities, into a folder beside the
    output."""
    explain_label: str | None = None
    """The label that is explained; default: that of the image with the highest probability."""


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(GivenConfig):
    """Which encoder, and which of its features."""

    model: str
    """Run folder, one of its checkpoints/step-*, a file of weights or an encoder.safetensors, timm:NAME, hf:NAME,
    xrv:NAME, imagenet or package:NAME."""
    layers: Annotated[
        tuple[PositiveCount, ...], tyro.conf.arg(name="features.layers", metavar="LAYER [LAYER ...]")
    ] = ()
    """Layers whose features are joined, counted from 1 as the network names its stages; default: what the encoder ends
    in."""
    architecture: str | None = None
    """Of weights that do not say it, such as resnet50."""
    size: Side | None = None
    """Of the views, where the weights do not say it."""
