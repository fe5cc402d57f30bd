"""Image models in the format of transformers (Hugging Face): RAD-DINO, DINOv2, DINOv3, ViT, by name or folder.

Size and levels are those of ``preprocessor_config.json``. The class is transformers' own, and weights are
safetensors alone. Features are what authors probe: the class token behind the last norm, or the output that the model
itself calls pooled.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eval.foreign.contract import ForeignModel, Pool, class_token, of_field, with_own_input
from shards.base.errors import InputError
from shards.base.words import reason_of

CONFIG, INPUT = "config.json", "preprocessor_config.json"
# Their pooled output is of a layer that was trained for a classifier, or never; their authors read the token.
_BY_TOKEN = {"vit", "deit", "vit_msn"}
_POOLER = "pooler"


def open_model(name: str) -> ForeignModel:
    """Opens ``hf:NAME`` or ``hf:FOLDER``.

    Raises:
        InputError: see :func:`eval.foreign.contract.open_foreign`.
    """
    folder = Path(name)
    if folder.exists():
        _check_folder(folder)
    about = _input_of(name)
    size, scale, shift = _read_input(about)
    model = _load(name)
    channels = getattr(model.config, "num_channels", 3)
    model.feature_info = _blocks(model)
    pool, pooling = _pooling(model)
    with torch.inference_mode():
        try:
            num_features = pool(model(torch.zeros(1, channels, size, size))).shape[-1]
        except Exception as error:  # models of other things than images fail in many ways
            raise InputError(f"gives no features of an image ({reason_of(error)}); give an image encoder") from None
    return with_own_input(
        model,
        name=f"hf:{name if not folder.exists() else folder.name}",
        size=size,
        scale=_each(scale, channels),
        shift=_each(shift, channels),
        num_features=num_features,
        pool=pool,
        pooling=f"{pooling} of {type(model).__name__}",
    )


def _check_folder(folder: Path) -> None:
    for file in (CONFIG, INPUT):
        if not (folder / file).is_file():
            raise InputError(f"the folder has no {file}; give one that save_pretrained wrote, of model and processor")
    if not list(folder.glob("*.safetensors")):
        raise InputError("the folder has no *.safetensors; save the model anew by save_pretrained")


def _input_of(name: str) -> Mapping[str, Any]:
    from transformers import BaseImageProcessor

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each of its retries
    try:
        return BaseImageProcessor.get_image_processor_dict(name)[0]
    except (OSError, ValueError) as error:
        raise InputError(_no_file(name, INPUT, error)) from None


def _load(name: str) -> Any:
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging as their_logging

    before = their_logging.get_verbosity()
    their_logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        if type(config) not in AutoModel._model_mapping:
            raise InputError(f"is a {config.model_type}, which is no encoder of images alone; give another model")
        model, found = AutoModel.from_pretrained(
            name, config=config, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, json.JSONDecodeError) as error:
        if "trust_remote_code" in str(error) or "custom code" in str(error):
            raise InputError(
                "wants code of its own to be run, which never is; give a model that transformers itself knows"
            ) from None
        raise InputError(_no_file(name, "model.safetensors", error)) from None
    finally:
        their_logging.set_verbosity(before)
    absent = sorted(key for key in found["missing_keys"] if not key.startswith(_POOLER))
    if absent:
        raise InputError(f"{len(absent)} of its weights are not in the file, such as {absent[0]}; save it anew")
    return model


def _blocks(model: Any) -> list[dict[str, Any]]:
    """The blocks of a transformer, as timm's ``feature_info`` has them; empty of other models."""
    num_blocks, width = (getattr(model.config, name, None) for name in ("num_hidden_layers", "hidden_size"))
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_blocks:
            return [{"module": f"{name}.{number}", "num_chs": width} for number in range(len(module))]
    return []


def _no_file(name: str, file: str, error: Exception) -> str:
    if Path(name).exists():
        return f"does not load ({reason_of(error)}); save it anew by save_pretrained"
    return (
        f"{file} could not be had ({reason_of(error)}); check the name and the network, or fetch {CONFIG}, {INPUT} and "
        f"model.safetensors of https://huggingface.co/{name} into a folder, and give hf:FOLDER"
    )


def _pooling(model: Any) -> tuple[Pool, str]:
    if model.config.model_type in _BY_TOKEN:
        return class_token, "the class token behind the last norm"
    return of_field("pooler_output"), "the pooled output"


def _read_input(about: Mapping[str, Any]) -> tuple[int, list[float], list[float]]:
    """Side in pixels, and by what levels in 0..1 are multiplied, and what is added, channel by channel."""
    crops = about.get("do_center_crop", False) and about.get("crop_size")
    size = about["crop_size"] if crops else about.get("size")
    side = _side(size)
    factor = 255.0 * float(about.get("rescale_factor", 1 / 255)) if about.get("do_rescale", True) else 255.0
    if not about.get("do_normalize", True):
        return side, [factor], [0.0]
    try:
        means, deviations = ([float(each) for each in _as_list(about[key])] for key in ("image_mean", "image_std"))
        return (
            side,
            [factor / each for each in deviations],
            [-mean / each for mean, each in zip(means, deviations, strict=True)],
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{INPUT}: image_mean and image_std are no numbers ({reason_of(error)})") from None


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _side(size: Any) -> int:
    sides = set(size.values()) if isinstance(size, Mapping) else {size}
    if len(sides) != 1 or not all(isinstance(side, int) and 8 <= side <= 8192 for side in sides):
        raise InputError(f"{INPUT}: size {size} is no square of 8 to 8192 px; give a model of square images")
    (side,) = sides
    return int(side)


def _each(values: list[float], channels: int) -> list[float]:
    if len(values) not in (1, channels):
        raise InputError(f"{INPUT}: normalises {len(values)} channels, but the model takes {channels}")
    return values if len(values) == channels else values * channels
