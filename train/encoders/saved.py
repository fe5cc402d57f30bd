"""The encoder that a run leaves behind: ``encoder.safetensors``, with all that is needed to use it in its header.

encoder = load_encoder("runs/first").encoder     # torchvision's ResNet18 with one input channel and no classifier
features = encoder(views)                        # (B, 1, H, W) normalised -> (B, F)
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.views import ViewSpec
from shards.base.dataclass_io import from_mapping
from shards.base.errors import InputError
from shards.base.values.arguments import checked_arguments
from train.encoders.build import build_encoder
from train.encoders.checkpoint import Which
from train.encoders.file import FORMAT_VERSION, load_state, read_encoder_file, write_tensors
from train.encoders.seen import Seen


@dataclass(frozen=True, kw_only=True)
class LoadedEncoder:
    """``encoder`` in evaluation mode on the CPU; ``views`` it was trained on; everything else the header says.
    ``seen`` is what it was trained on, where somebody has asked (:func:`train.encoders.seen.load_seen`)."""

    encoder: nn.Module
    name: str
    views: ViewSpec
    metadata: dict[str, Any]
    seen: Seen = field(default_factory=Seen)

    def __repr__(self) -> str:
        return f"<LoadedEncoder: {self.name}, {self.encoder.num_features} features, views of {self.views.size} px>"


def save_encoder(
    path: str | Path, encoder: nn.Module, *, name: str, views: ViewSpec, norm: str = "batch", **metadata: Any
) -> None:
    """Writes the weights and running statistics of ``encoder`` under the names of torchvision or timm.

    Args:
        path: usually a name of :data:`train.encoders.file.FILES` in the run folder.
        encoder: the one that was trained, or its momentum copy, whose running statistics are its own.
        name: as :func:`train.encoders.build.build_encoder` knows it.
        views: of the pretraining; normalisation and size are what evaluation needs of it.
        norm: ``batch`` or ``group``. Split batch norm counts as ``batch``: its state is the same.
        metadata: anything that JSON can hold.
    """
    header = encoder_header(encoder, name=name, views=views, norm=norm, **metadata)
    write_tensors(Path(path), encoder.state_dict(), header)


def encoder_header(
    encoder: nn.Module, *, name: str, views: ViewSpec, norm: str = "batch", **metadata: Any
) -> dict[str, Any]:
    """What :func:`save_encoder` writes about an encoder, and a checkpoint beside one."""
    header = {"format_version": FORMAT_VERSION, "name": name, "norm": norm, "views": dataclasses.asdict(views)}
    return header | {"num_features": encoder.num_features, **metadata}


@checked_arguments
def load_encoder(path: str | Path, which: Which = "query") -> LoadedEncoder:
    """Reads what :func:`save_encoder` wrote, or the encoder in a checkpoint.

    Args:
        path: the file, the run folder around it, or the folder of a checkpoint, whether its run has finished or not.
        which: of a run folder or checkpoint, the encoder that was trained or its momentum copy.

    Raises:
        InputError: no such file, not one of ours, another format version, or weights that do not match key by key.
    """
    file = read_encoder_file(path, which)
    metadata = file.metadata
    views = from_mapping(ViewSpec, metadata["views"], "views")
    encoder = build_encoder(metadata["name"], norm=metadata["norm"], size=views.size)
    load_state(file.path, encoder, file.tensors, kind=metadata["name"])
    if encoder.num_features != metadata["num_features"]:
        raise InputError(
            f"encoder {file.path}: its header says {metadata['num_features']} features, and a {metadata['name']} has "
            f"{encoder.num_features}; copy it again, or export it again"
        )
    return LoadedEncoder(encoder=encoder.eval(), name=metadata["name"], views=views, metadata=metadata)
