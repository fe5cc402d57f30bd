"""A classifier of images as a folder, and back.

FOLDER/head.safetensors       the head, with labels, preprocessing and calibration in its header
FOLDER/encoder.safetensors    the encoder, as a run leaves it, so that whatever takes a run takes the folder, with
                              ``seen.safetensors``, the numbers of the images that it was trained on; absent
                              where the head's header names a published model: one that was left as it was is opened
                              from there, the tensors of one that was trained on are beside the head's

Nothing in it is a pickle. The header's ``classifier`` is the JSON of :class:`About`; the tensors ``valid.logits`` and
``valid.labels`` are those of the validation images, by which calibration and thresholds come about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eval.classifier.calibration import Calibration
from eval.classifier.kept import Encoder, Kept
from eval.classifier.network import ImageClassifier
from eval.foreign.contract import open_foreign
from eval.study.features import encoder_hash
from eval.study.layers import LayerFeatures
from pipeline.views import ViewSpec
from shards.base.dataclass_io import to_mapping
from shards.base.errors import InputError
from shards.images.store import ImageSpec
from train.encoders.file import FILES, header_value, load_state, read_tensors, write_tensors
from train.encoders.saved import LoadedEncoder, load_encoder, save_encoder
from train.encoders.seen import Seen, save_seen

FORMAT_VERSION = 1
HEAD_FILE = "head.safetensors"
KEEPS = (
    "moco-cxr eval finetune --finetune.keep-model, eval linear --linear.keep-model or eval multimodal "
    "--multimodal.keep-model"
)
"""The commands that keep a classifier."""
_HEADER, _ENCODER = "classifier", "encoder."
_LOGITS, _LABELS = "valid.logits", "valid.labels"


@dataclass(frozen=True, kw_only=True)
class About:
    """What the file of a classifier says of it; see :class:`eval.classifier.kept.Kept`."""

    format_version: int = FORMAT_VERSION
    readout: str
    labels: tuple[str, ...]
    image: ImageSpec
    views: ViewSpec
    encoder: Encoder | None
    shifts: tuple[float, ...]
    temperatures: tuple[float | None, ...]
    trained: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.labels) == len(self.shifts) == len(self.temperatures) > 0:
            raise InputError("calibrations of other labels")


def about(
    readout: str,
    *,
    labels: Sequence[str],
    image: ImageSpec,
    views: ViewSpec,
    encoder: Encoder | None,
    calibration: Calibration,
    trained: Mapping[str, Any],
) -> About:
    """What is to be written about a classifier; of ``views`` those for evaluation."""
    return About(
        readout=readout,
        labels=tuple(labels),
        image=image,
        views=views.evaluation(),
        encoder=encoder,
        shifts=calibration.shifts,
        temperatures=calibration.temperatures,
        trained=dict(trained),
    )


def write_kept(file: Path, tensors: Mapping[str, Tensor], about: About, calibration: Calibration, **header: Any) -> str:
    """Writes the file of a classifier, by which its folder is complete, and returns its digest; ``header`` holds what
    else JSON can."""
    of_validation = {
        _LOGITS: torch.from_numpy(calibration.logits),
        _LABELS: torch.from_numpy(calibration.labels),
    }
    return write_tensors(file, {**tensors, **of_validation}, {_HEADER: to_mapping(about), **header})


def read_kept(file: Path) -> tuple[dict[str, Tensor], About, Calibration, dict[str, str]]:
    """Tensors, what is said about them, the calibration, and the whole header of a file of :func:`write_kept`.

    Raises:
        InputError: it is none, was changed since it was written, or is of another version.
    """
    tensors, header = read_tensors(file)
    if _HEADER not in header or not {_LOGITS, _LABELS} <= tensors.keys():
        raise InputError(
            f"{file}: says nothing of preprocessing, as models of an earlier version do; keep it again: {KEEPS}"
        )
    about: About = header_value(file, header, _HEADER, About)
    if about.format_version != FORMAT_VERSION:
        raise InputError(
            f"{file}: is of format version {about.format_version}, and this version of moco-cxr reads "
            f"{FORMAT_VERSION}; keep it again: {KEEPS}"
        )
    logits, labels = (tensors.pop(name).float().numpy() for name in (_LOGITS, _LABELS))
    if logits.shape != labels.shape or logits.shape[1:] != (len(about.labels),):
        raise InputError(f"{file}: holds validation images of other labels; copy it again")
    calibration = Calibration(logits=logits, labels=labels, shifts=about.shifts, temperatures=about.temperatures)
    return tensors, about, calibration, header


def encoder_of(start: LoadedEncoder, encoder: nn.Module, layers: Sequence[int] = ()) -> Encoder:
    """What is written about the ``encoder`` of a classifier that began as ``start``."""
    source = str(start.metadata.get("source", ""))
    word, _, name = source.partition(":")
    if name and Path(name).exists():
        source = f"{word}:{Path(name).resolve()}"
    return Encoder(name=start.name, hash=encoder_hash(encoder), source=source, layers=tuple(layers))


def save_classifier(
    folder: Path,
    network: ImageClassifier,
    start: LoadedEncoder,
    *,
    readout: str,
    labels: Sequence[str],
    image: ImageSpec,
    calibration: Calibration,
    trained: Mapping[str, Any],
    layers: Sequence[int] = (),
    seen: Seen | None = None,
) -> str:
    """Writes what :func:`load_image_classifier` reads, and returns the digest of the head's file.

    Args:
        start: what the encoder was, with its views.
        image: how the training images are stored.
        layers: of the encoder that the head reads; none: what it ends in.
        seen: what the encoder was trained on; default: what the start was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder: Any = network.encoder.encoder if layers else network.encoder
    told = encoder_of(start, encoder, layers)
    tensors = network.head.state_dict()
    if not told.source:
        save_own_encoder(folder, encoder, start, image=image, seen=start.seen if seen is None else seen)
    elif told.hash != encoder_hash(start.encoder):
        tensors |= {f"{_ENCODER}{name}": value for name, value in encoder.state_dict().items()}
    said = about(
        readout,
        labels=labels,
        image=image,
        views=start.views,
        encoder=told,
        calibration=calibration,
        trained=trained,
    )
    return write_kept(folder / HEAD_FILE, tensors, said, calibration)


def save_own_encoder(folder: Path, encoder: nn.Module, start: LoadedEncoder, *, image: ImageSpec, seen: Seen) -> None:
    """Writes the encoder beside a classifier, as a run leaves its own."""
    save_encoder(
        folder / FILES["query"],
        encoder,
        name=start.name,
        views=start.views,
        norm=start.metadata.get("norm", "batch"),
        image=to_mapping(image),
        **save_seen(folder, seen),
    )


def load_image_classifier(folder: Path) -> Kept:
    """The classifier that :func:`save_classifier` wrote.

    Raises:
        InputError: there is none, or it is damaged, its encoder is another one, or a published model that it reads
            cannot be had.
    """
    file = folder / HEAD_FILE
    if not file.is_file():
        raise InputError(f"{folder}: has no {HEAD_FILE}; keep a classifier by {KEEPS}")
    tensors, about, calibration, _ = read_kept(file)
    own = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_ENCODER)}
    trained = {name.removeprefix(_ENCODER): value for name, value in own.items()}
    encoder: Any = load_kept_encoder(folder, about, trained)
    layers = about.encoder.layers if about.encoder else ()
    if layers:
        encoder = LayerFeatures(encoder, layers, name=about.encoder.name if about.encoder else "")
    network = ImageClassifier(encoder, len(about.labels))
    load_state(file, network.head, tensors, kind="its labels and encoder")
    return kept_of(folder, network, about, calibration)


def load_kept_encoder(folder: Path, about: About, trained: Mapping[str, Tensor] | None = None) -> nn.Module:
    """The encoder of a classifier: beside its file, or where it is published.

    Args:
        trained: tensors of a published one that was trained on.

    Raises:
        InputError: it is not there, or another one.
    """
    assert about.encoder is not None, "a classifier of images has an encoder"
    told = about.encoder
    encoder = open_foreign(told.source).encoder if told.source else load_encoder(folder / FILES["query"]).encoder
    if trained:
        load_state(folder / HEAD_FILE, encoder, dict(trained), kind=told.source)
    if encoder_hash(encoder) != told.hash:
        where = told.source or folder / FILES["query"]
        raise InputError(f"{where}: is not the encoder that the classifier was trained on; copy the whole folder again")
    return encoder


def kept_of(folder: Path, network: nn.Module, about: About, calibration: Calibration) -> Kept:
    """A classifier as it is used."""
    return Kept(
        folder=folder,
        readout=about.readout,
        network=network.eval().requires_grad_(False),
        labels=about.labels,
        image=about.image,
        views=about.views,
        calibration=calibration,
        encoder=about.encoder,
        trained=about.trained,
    )
