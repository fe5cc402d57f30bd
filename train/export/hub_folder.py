"""A folder as the Hugging Face hub wants it, and as timm loads it: ``hf-hub:USER/NAME``, ``local-dir:FOLDER``.

    config.json          timm's: architecture, arguments, and this model's own input
    model.safetensors    the tensors under timm's names, with moco-cxr's header: an encoder of ours as well
    README.md            the model card (:mod:`train.export.card`)

What the header says of paths and settings, and what lies beside it of images (``seen.safetensors``), stay behind: a hub
may be public. That an encoder was trained on a dataset is known by the dataset's fingerprint.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shards.base.atomic import atomic_write
from shards.base.errors import InputError
from shards.base.words import reason_of
from train.encoders.file import HUB_FILE
from train.encoders.saved import LoadedEncoder, save_encoder
from train.encoders.zoo import architecture_of
from train.export.about import timm_input
from train.export.formats import require_batch_norm, timm_arguments

CONFIG, CARD = "config.json", "README.md"
_OF_OTHERS = ("license", "origin_url", "paper_ids", "paper_name", "notes", "label_names", "label_descriptions")
"""What timm's configuration says of the weights that it publishes under the name."""


def write_encoder_folder(loaded: LoadedEncoder, folder: Path, *, card: str) -> None:
    """Writes the folder of an encoder; its files that are there are replaced.

    Raises:
        InputError: timm cannot load this encoder.
    """
    require_batch_norm(loaded, "hub")
    folder.mkdir(parents=True, exist_ok=True)
    write_timm(loaded, folder, loaded.encoder.state_dict())
    said = {name: loaded.metadata[name] for name in ("step", "trained_on", "seen", "image") if name in loaded.metadata}
    save_encoder(folder / HUB_FILE, loaded.encoder, name=loaded.name, views=loaded.views, **said)
    atomic_write(folder / CARD, card)


def write_timm(
    loaded: LoadedEncoder, folder: Path, state: dict[str, Tensor], *, labels: tuple[str, ...] = (), head: Any = None
) -> None:
    """Writes ``config.json`` and ``model.safetensors`` as timm does, and loads them again.

    Args:
        state: the encoder's tensors.
        labels, head: of a classifier, whose linear layer becomes the network's own.

    Raises:
        InputError: timm's network of this name computes something else.
    """
    import timm

    architecture = architecture_of(loaded.name)
    arguments = timm_arguments(loaded) | {"num_classes": len(labels)}
    with torch.random.fork_rng(devices=[]):
        network: Any = timm.create_model(architecture.model, **arguments)
    if head is not None:
        own = sorted(network.state_dict().keys() - state.keys())
        if [name.rpartition(".")[2] for name in own] != ["bias", "weight"]:
            raise InputError(
                f"--format hub: timm's {architecture.model} has no linear layer at its end; use onnx or pt2"
            )
        state = state | {own[0]: head.bias, own[1]: head.weight}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise InputError(f"--format hub: timm's {architecture.model} is another network ({reason_of(error)})") from None
    about: dict[str, Any] = {"label_names": list(labels)} if labels else {}
    timm.models.save_for_hf(
        network.eval(),
        str(folder),
        model_config=about,
        model_args=arguments,
        safe_serialization=True,
        data_config=timm_input(loaded.views),
    )
    config = json.loads((folder / CONFIG).read_text())
    config["pretrained_cfg"] = {
        name: value for name, value in config["pretrained_cfg"].items() if name not in _OF_OTHERS
    } | {"tag": "moco_cxr"}
    atomic_write(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        again: Any = timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True).eval()
        views = torch.randn(2, 1, loaded.views.size, loaded.views.size, generator=torch.Generator().manual_seed(0))
        wanted = loaded.encoder(views)
        if head is not None:
            wanted = head(wanted)
        if not torch.allclose(again(views), wanted, rtol=1e-3, atol=1e-4):
            raise InputError(f"--format hub: timm's {architecture.model} gives other features; use onnx or pt2")
