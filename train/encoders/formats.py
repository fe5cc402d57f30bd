"""An encoder in the forms that other software reads: plain torchvision, timm and ONNX.

torchvision    state dict for three channels: the gray weights, a third on each, so that a gray image on three equal
               channels gives the same features
timm           state dict for in_chans=1, num_classes=0
onnx           graph from ``views`` (B, 1, size, size) to ``features`` (B, F), for any B; size and normalisation are in
               its metadata
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from shards.base.atomic import atomic_file
from shards.base.errors import InputError, writing
from train.encoders.saved import LoadedEncoder
from train.settings.architectures import ENCODERS

FormatName = Literal["torchvision", "timm", "onnx"]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The ``size`` of the file in bytes, and the code that loads it."""

    size: int
    usage: str


def export_encoder(loaded: LoadedEncoder, output: Path, *, format: FormatName) -> Exported:
    """Writes ``loaded`` as ``output``; a file that is there is replaced.

    State dicts become safetensors where ``output`` says so, else PyTorch files.

    Raises:
        InputError: the form cannot hold this encoder, a package is missing, or the file cannot be written.
    """
    write: dict[FormatName, Callable[[LoadedEncoder, BinaryIO, Path], str]] = {
        "torchvision": _write_torchvision,
        "timm": _write_timm,
        "onnx": _write_onnx,
    }
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(output) as file:
            usage = write[format](loaded, file, output)
    return Exported(size=output.stat().st_size, usage=usage.replace("FILE", str(output)))


def _write_torchvision(loaded: LoadedEncoder, file: BinaryIO, output: Path) -> str:
    architecture = ENCODERS[loaded.name]
    if architecture.library != "torchvision":
        raise InputError(f"--format torchvision: torchvision has no {loaded.name}; use timm or onnx")
    _require_batch_norm(loaded, "torchvision")
    state = loaded.encoder.state_dict()
    stem = f"{architecture.stem}.weight"
    state[stem] = state[stem].expand(-1, 3, -1, -1) / 3
    _write_state(state, file, output)
    head = architecture.heads[0]
    return (
        f"model = torchvision.models.{architecture.model}(); model.{head} = torch.nn.Identity(); "
        f"model.load_state_dict({_read_state(output)})"
    )


def _write_timm(loaded: LoadedEncoder, file: BinaryIO, output: Path) -> str:
    _require_batch_norm(loaded, "timm")
    architecture = ENCODERS[loaded.name]
    _write_state(loaded.encoder.state_dict(), file, output)
    options = "".join(f", {key}={value!r}" for key, value in architecture.options.items() if key != "weight_init")
    if architecture.library == "timm" and loaded.views.size != 224:
        options += ", dynamic_img_size=True"
    return (
        f'model = timm.create_model("{architecture.model}", in_chans=1, num_classes=0{options}, checkpoint_path="FILE")'
    )


def _write_onnx(loaded: LoadedEncoder, file: BinaryIO, output: Path) -> str:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"--format onnx: needs the package {error.name}; install moco-cxr[onnx]") from None
    views, size = loaded.views, loaded.views.size
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program: Any = torch.onnx.export(
            _at_size(loaded, size),
            (torch.zeros(2, 1, size, size),),  # two, as one would be taken for a constant
            input_names=["views"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    about = {"encoder": loaded.name, "size": size, "mean": views.mean, "std": views.std}
    program.model.metadata_props.update({key: str(value) for key, value in about.items()})
    file.write(program.model_proto.SerializeToString())
    return 'session = onnxruntime.InferenceSession("FILE"); features, = session.run(None, {"views": views})'


def _at_size(loaded: LoadedEncoder, size: int) -> nn.Module:
    """The encoder for views of one size: a vision transformer's positions are fitted to it once, outside the graph."""
    architecture = ENCODERS[loaded.name]
    if architecture.library != "timm":
        return loaded.encoder
    import timm
    from timm.layers.pos_embed import resample_abs_pos_embed

    fixed: Any = timm.create_model(architecture.model, in_chans=1, num_classes=0, img_size=size, **architecture.options)
    state = loaded.encoder.state_dict()
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], new_size=list(fixed.patch_embed.grid_size))
    fixed.load_state_dict(state, strict=True)
    return fixed.eval()


def _require_batch_norm(loaded: LoadedEncoder, format: FormatName) -> None:
    if loaded.metadata["norm"] != "batch":
        raise InputError(
            f"--format {format}: this encoder has {loaded.metadata['norm']} norm, and plain {format} networks have "
            "batch norm; use onnx, or train.encoders.saved.load_encoder"
        )


def _write_state(state: dict[str, Tensor], file: BinaryIO, output: Path) -> None:
    tensors = {key: value.contiguous() for key, value in state.items()}
    if output.suffix == ".safetensors":
        file.write(safetensors.torch.save(tensors, {"format": "pt"}))
    else:
        torch.save(tensors, file)


def _read_state(output: Path) -> str:
    if output.suffix == ".safetensors":
        return 'safetensors.torch.load_file("FILE")'
    return 'torch.load("FILE", weights_only=True)'
