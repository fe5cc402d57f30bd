"""A kept classifier for other software: a graph from views to logits and calibrated probabilities, or a folder for the
hub.

What the graph's metadata says: its input (:mod:`train.export.about`), ``labels`` in the order of the outputs,
``shifts`` and ``temperatures`` of the calibration (``probability = sigmoid((logit - shift) / temperature)``), and
``stored``: how images are stored before they become views.

Legend: B images, L labels.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eval.classifier.file import HEAD_FILE
from eval.classifier.kept import Kept
from eval.inference.model import load_classifier
from shards.base.atomic import atomic_write
from shards.base.dataclass_io import to_mapping
from shards.base.errors import InputError, writing
from shards.base.words import as_size
from train.encoders.file import FILES, is_kept
from train.encoders.saved import LoadedEncoder
from train.export.about import describe
from train.export.card import model_card
from train.export.encoder_hub import check_folder
from train.export.formats import at_size
from train.export.graphs import onnx_bytes, program_bytes
from train.export.hub import check_name, push_folder
from train.export.hub_folder import CARD, write_timm

GraphName = Literal["onnx", "pt2"]
_OUTPUTS = ("logits", "probabilities")
_LOADS = {
    "onnx": 'session = onnxruntime.InferenceSession("FILE")\n'
    'logits, probabilities = session.run(None, {"views": views})',
    "pt2": 'model = torch.export.load("FILE").module(); logits, probabilities = model(views)',
}
_USAGE = {
    "timm": 'import timm\n\nmodel = timm.create_model("hf-hub:NAME", pretrained=True).eval()  # gives logits\n'
    "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))  # of gray images, mode L",
    "moco-cxr": 'import moco_cxr\n\nkept = moco_cxr.from_hub("NAME")  # with calibration and preprocessing',
}


class Calibrated(nn.Module):
    """Views (B, 1, S, S) to logits (B, L) and probabilities (B, L)."""

    def __init__(self, network: nn.Module, kept: Kept) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("shifts", torch.tensor(kept.calibration.shifts))
        self.register_buffer("temperatures", torch.tensor([each or 1.0 for each in kept.calibration.temperatures]))

    shifts: Tensor
    temperatures: Tensor

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(views)
        return logits, torch.sigmoid((logits - self.shifts) / self.temperatures)


def export_classifier(
    model: Path,
    output: Path | None,
    *,
    format: Literal["onnx", "pt2", "hub"] | None = None,
    push: str = "",
    public: bool = False,
    license: str = "other",
) -> str:
    """Writes what ``model`` is by :func:`eval.inference.model.load_classifier`, and returns what is to be told.

    Args:
        output: a file, or the folder of ``hub``, which may be left out where it is uploaded.
        push: repository of the hub, ``USER/NAME``; empty: none.

    Raises:
        InputError: no classifier; one that the format cannot hold; it cannot be written or uploaded.
    """
    if push:
        check_name(push)
    kept = load_classifier(model)
    if kept.read_texts is not None:
        raise InputError(f"--model {model}: reads texts as well, which no export holds; use moco-cxr predict")
    if format in ("onnx", "pt2") and output is not None:
        if is_kept(output) or output.resolve().parent == kept.folder.resolve():
            raise InputError(f"--output {output}: lies in the folder of the classifier; name another")
        return _write_graph(kept, output, format)
    with tempfile.TemporaryDirectory() as scratch:
        folder = output or Path(scratch) / "model"
        check_folder(folder)
        with writing(folder):
            _write_folder(kept, folder, name=push or folder.name, license=license)
        if not push:
            return f'written: {folder}; load it with\nmodel = timm.create_model("local-dir:{folder}", pretrained=True)'
        return (
            f"pushed: {push_folder(folder, push, public=public)}; load it with\n{_USAGE['timm'].replace('NAME', push)}"
        )


def about(kept: Kept) -> dict[str, str]:
    """What is written of a classifier beside its graph."""
    return {
        **describe(kept.views, stored=to_mapping(kept.image)),
        "encoder": kept.encoder.name if kept.encoder else "",
        "readout": kept.readout,
        "labels": json.dumps(kept.labels),
        "shifts": json.dumps(kept.calibration.shifts),
        "temperatures": json.dumps(kept.calibration.temperatures),
        "trained": json.dumps(kept.trained),
    }


def _write_graph(kept: Kept, output: Path, format: GraphName) -> str:
    make = {"onnx": onnx_bytes, "pt2": program_bytes}[format]
    network: Any = kept.network
    if kept.encoder is not None and not kept.encoder.source and not kept.encoder.layers:
        network = nn.Sequential(at_size(_loaded(kept), kept.views.size), network.head)
    content = make(Calibrated(network, kept).eval(), size=kept.views.size, outputs=_OUTPUTS, about=about(kept))
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(output, content)
    return f"written: {output} ({as_size(len(content))}); load it with\n{_LOADS[format].replace('FILE', str(output))}"


def _write_folder(kept: Kept, folder: Path, *, name: str, license: str) -> None:
    if kept.encoder is None or kept.encoder.source or kept.encoder.layers:
        what = kept.encoder.source if kept.encoder and kept.encoder.source else "several layers"
        raise InputError(f"--format hub: the classifier reads {what}, which timm cannot load; use onnx or pt2")
    network: Any = kept.network
    folder.mkdir(parents=True, exist_ok=True)
    write_timm(_loaded(kept), folder, network.encoder.state_dict(), labels=kept.labels, head=network.head)
    for file in (HEAD_FILE, FILES["query"]):
        shutil.copyfile(kept.folder / file, folder / file)
    card = model_card(
        title=f"{kept.encoder.name}, chest X-rays: {', '.join(kept.labels)}",
        intro=f"From a gray image to logits of {', '.join(kept.labels)}; `head.safetensors` has their calibration on "
        f"{len(kept.calibration.labels)} validation images.",
        views=kept.views,
        task="image-classification",
        usage={software: lines.replace("NAME", name) for software, lines in _USAGE.items()},
        license=license,
    )
    atomic_write(folder / CARD, card)


def _loaded(kept: Kept) -> LoadedEncoder:
    network: Any = kept.network
    assert kept.encoder is not None
    return LoadedEncoder(encoder=network.encoder, name=kept.encoder.name, views=kept.views, metadata={"norm": "batch"})
