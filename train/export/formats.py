"""An encoder in the forms that other software reads: plain torchvision, timm, ONNX and ``torch.export``.

torchvision    state dict for three channels: the gray weights, a third on each, so that a gray image on three equal
               channels gives the same features; for networks that torchvision has too, which is tried
timm           state dict for in_chans=1, num_classes=0
onnx, pt2      graph from ``views`` (B, 1, size, size) to ``features`` (B, F), for any B (:mod:`train.export.graphs`)

Each says what its input is (:mod:`train.export.about`).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from shards.base.atomic import atomic_file
from shards.base.errors import InputError, writing
from train.encoders.networks import stem_weights
from train.encoders.saved import LoadedEncoder
from train.encoders.zoo import architecture_of, timm_options
from train.export.about import describe, timm_input
from train.export.graphs import onnx_bytes, program_bytes

FormatName = Literal["torchvision", "timm", "onnx", "pt2"]


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
        "pt2": _write_program,
    }
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(output) as file:
            usage = write[format](loaded, file, output)
    return Exported(size=output.stat().st_size, usage=usage.replace("FILE", str(output)))


def _write_torchvision(loaded: LoadedEncoder, file: BinaryIO, output: Path) -> str:
    require_batch_norm(loaded, "torchvision")
    architecture = architecture_of(loaded.name)
    state = loaded.encoder.state_dict()
    for stem in stem_weights(architecture):
        state[stem] = state[stem].expand(-1, 3, -1, -1) / 3
    model = architecture.model.partition(".")[0]
    head = _twin(loaded, model, state)
    if not head:
        raise InputError(f"--format torchvision: torchvision has no {loaded.name}; use timm or onnx")
    _write_state(state, file, output, about(loaded, channels=3))
    return (
        f"model = torchvision.models.{model}(); model.{head} = torch.nn.Identity(); "
        f"model.load_state_dict({_read_state(output)})"
    )


def _twin(loaded: LoadedEncoder, model: str, state: dict[str, Tensor]) -> str:
    """The name of the classifier of torchvision's network of this name; empty where there is none that computes the
    same, tensor by tensor and in its features."""
    if model not in torchvision.models.list_models():
        return ""
    with torch.device("meta"):
        twin: Any = torchvision.models.get_model(model, weights=None)
    heads = {name.rpartition(".")[0] for name in twin.state_dict().keys() - state.keys()}
    head = next(iter(heads), "")
    if len(heads) != 1 or "." in head:
        return ""
    twin.set_submodule(head, nn.Identity())
    shapes = {name: value.shape for name, value in twin.state_dict().items()}
    if shapes != {name: value.shape for name, value in state.items()}:
        return ""
    twin.load_state_dict(state, assign=True)
    gray = torch.rand(2, 1, loaded.views.size, loaded.views.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, features = loaded.encoder(gray), twin.eval()(gray.expand(-1, 3, -1, -1))
    return head if torch.allclose(features, wanted, rtol=1e-3, atol=1e-4) else ""


def _write_timm(loaded: LoadedEncoder, file: BinaryIO, output: Path) -> str:
    require_batch_norm(loaded, "timm")
    architecture = architecture_of(loaded.name)
    _write_state(loaded.encoder.state_dict(), file, output, about(loaded))
    arguments, own = timm_arguments(loaded), timm_input(loaded.views)
    if arguments.get("dynamic_img_size"):
        own["fixed_input_size"] = False  # or timm would build it for the size of the views
    listed = "".join(f", {key}={value!r}" for key, value in arguments.items())
    return (
        f'model = timm.create_model("{architecture.model}"{listed}, pretrained_cfg_overlay={own}, '
        'checkpoint_path="FILE")'
    )


def about(loaded: LoadedEncoder, *, channels: int = 1) -> dict[str, str]:
    """What is written of an encoder beside its tensors."""
    said = describe(loaded.views, channels=channels, stored=loaded.metadata.get("image"))
    return {"encoder": loaded.name, **said}


def timm_arguments(loaded: LoadedEncoder) -> dict[str, Any]:
    """What timm's factory is told beside the name, so that it builds this encoder."""
    architecture, size = architecture_of(loaded.name), loaded.views.size
    options = timm_options(architecture, size)
    if architecture.has_dynamic_size and size == 224:
        del options["dynamic_img_size"]
    return {"in_chans": 1, "num_classes": 0, **{key: options[key] for key in options if key != "weight_init"}}


def _write_onnx(loaded: LoadedEncoder, file: BinaryIO, output: Path) -> str:
    size = loaded.views.size
    file.write(onnx_bytes(at_size(loaded, size), size=size, outputs=["features"], about=about(loaded)))
    return 'session = onnxruntime.InferenceSession("FILE"); features, = session.run(None, {"views": views})'


def _write_program(loaded: LoadedEncoder, file: BinaryIO, output: Path) -> str:
    size = loaded.views.size
    file.write(program_bytes(at_size(loaded, size), size=size, outputs=["features"], about=about(loaded)))
    return 'model = torch.export.load("FILE").module(); features = model(views)'


def at_size(loaded: LoadedEncoder, size: int) -> nn.Module:
    """The encoder for views of one size: a vision transformer's positions are fitted to it once, outside the graph."""
    architecture = architecture_of(loaded.name)
    if not architecture.has_dynamic_size:
        return loaded.encoder
    import timm
    from timm.layers.pos_embed import resample_abs_pos_embed

    fixed: Any = timm.create_model(architecture.model, in_chans=1, num_classes=0, img_size=size, **architecture.options)
    state = loaded.encoder.state_dict()
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], new_size=list(fixed.patch_embed.grid_size))
    fixed.load_state_dict(state, strict=True)
    return fixed.eval()


def require_batch_norm(loaded: LoadedEncoder, format: str) -> None:
    if loaded.metadata["norm"] != "batch":
        raise InputError(
            f"--format {format}: this encoder has {loaded.metadata['norm']} norm, and plain {format} networks have "
            "batch norm; use onnx, or train.encoders.saved.load_encoder"
        )


def _write_state(state: dict[str, Tensor], file: BinaryIO, output: Path, about: dict[str, str]) -> None:
    tensors = OrderedDict((key, value.contiguous()) for key, value in state.items())
    if output.suffix == ".safetensors":
        file.write(safetensors.torch.save(tensors, {"format": "pt", **about}))
        return
    tensors._metadata = {"": dict(about)}  # type: ignore[attr-defined]  # as torch's own state dicts have it
    torch.save(tensors, file)


def _read_state(output: Path) -> str:
    if output.suffix == ".safetensors":
        return 'safetensors.torch.load_file("FILE")'
    return 'torch.load("FILE", weights_only=True)'
