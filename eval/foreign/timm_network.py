"""Networks of timm with the weights that timm publishes for them, or of a folder that timm has written."""

from pathlib import Path
from typing import Any

import torch

from eval.foreign.contract import ForeignModel, as_is, with_own_input
from shards.base.errors import InputError
from shards.base.words import reason_of
from train.encoders.starts.imagenet import imagenet_weights
from train.encoders.zoo import architecture_of, build_timm
from train.settings.architectures import TIMM


def open_model(name: str) -> ForeignModel:
    """Opens ``timm:NAME``, or ``timm:FOLDER`` with ``config.json`` and ``model.safetensors``.

    Raises:
        InputError: see :func:`eval.foreign.contract.open_foreign`.
    """
    network = _of_folder(Path(name)) if Path(name).is_dir() else _of_name(name)
    return opened(network, f"{TIMM}{Path(name).name if Path(name).is_dir() else name}")


def open_folder(folder: Path, name: str) -> ForeignModel:
    """Opens such a folder, to be called ``name`` in results. Raises as :func:`open_model`."""
    return opened(_of_folder(folder), name)


def opened(network: Any, name: str) -> ForeignModel:
    """A network of timm behind the input that its own configuration names."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(network)
    channels, height, width = config["input_size"]
    if height != width:
        raise InputError(f"takes {height} x {width} px, but views are square; give another network")
    scale = [1 / deviation for deviation in config["std"]][:channels]
    return with_own_input(
        network,
        name=name,
        size=height,
        scale=scale,
        shift=[-mean * factor for mean, factor in zip(config["mean"], scale, strict=False)],
        num_features=network.num_features,
        pool=as_is,
        pooling="pooled as the network does before its classifier",
    )


def _of_name(name: str) -> Any:
    try:
        architecture = architecture_of(f"{TIMM}{name}")
        network = build_timm(architecture, None, channels=3)
        wanted = network.state_dict()
        state = imagenet_weights(architecture, name=f"{TIMM}{name}", size=None)
    except InputError as error:  # speaks of the option encoder.name or encoder.weights
        raise InputError(str(error).partition(": ")[2]) from None
    network.load_state_dict({key: state[key] for key in wanted if key in state})
    return network


def _of_folder(folder: Path) -> Any:
    import timm

    if not (folder / "config.json").is_file():
        raise InputError("the folder has no config.json; give one that timm's save_for_hf wrote")
    if not (folder / "model.safetensors").is_file():
        raise InputError("the folder has no model.safetensors; save the weights anew, with safe_serialization=True")
    try:
        with torch.random.fork_rng(devices=[]):
            network: Any = timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True, num_classes=0)
    except Exception as error:  # a configuration of others fails in many ways
        raise InputError(f"does not load ({reason_of(error)}); save it anew by timm's save_for_hf") from None
    network.num_features = network.head_hidden_size
    return network
