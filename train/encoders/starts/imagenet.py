"""Supervised weights that torchvision and timm publish for their networks: ``encoder.weights imagenet``.

They are downloaded at first use. Where there is no network, the error names the file, and the folder in which it is
looked for before anything is downloaded.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from huggingface_hub import constants
from torch import Tensor, nn

from shards.base.errors import InputError
from shards.base.words import reason_of
from train.encoders.zoo import config_of, timm_options
from train.settings.architectures import Architecture


def imagenet_weights(architecture: Architecture, *, name: str, size: int | None) -> dict[str, Tensor]:
    """The state of the network for three channels, with its classifier.

    Args:
        name: of the encoder, for errors.
        size: of the views in pixels, to which timm fits the positions of networks that fix it.

    Raises:
        InputError: there are none, or they could be neither found nor downloaded.
    """
    if architecture.has_fixed_position_embedding:
        raise InputError(
            f"encoder.weights imagenet: there are none for {name}; give random, a MoCo v3 checkpoint, or encoder.name "
            "vit_small"
        )
    if architecture.library == "timm":
        return _of_timm(architecture, name=name, size=size)
    enumeration: Any = torchvision.models.get_model_weights(architecture.model)
    url = enumeration.IMAGENET1K_V1.url
    try:
        state: dict[str, Tensor] = enumeration.IMAGENET1K_V1.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        raise _no_download(error, f"fetch {url}", url.rpartition("/")[2]) from None
    return state


def _of_timm(architecture: Architecture, *, name: str, size: int | None) -> dict[str, Tensor]:
    import timm

    config = config_of(architecture.model)
    if not config.has_weights:
        listed = timm.list_pretrained(f"{architecture.model[:4]}*")[:3]
        raise InputError(
            f"encoder.weights imagenet: timm has none for {name}; give random, a file, or a network that it has some "
            f"for{', such as timm:' + ', timm:'.join(listed) if listed else ''}"
        )
    if config.hf_hub_id:
        what = f"fetch {config.hf_hub_filename or 'model.safetensors'} of https://huggingface.co/{config.hf_hub_id}"
        file = f"{config.architecture}.{config.tag}.safetensors"
    else:
        what, file = f"fetch {config.url}", config.url.rpartition("/")[2]
    placed = _folder() / file
    overlay = {"file": str(placed), "custom_load": False} if placed.is_file() else None
    try:
        with _cache_alone(unless=overlay is not None or _is_reachable(config)):
            network: nn.Module = timm.create_model(
                architecture.model,
                pretrained=True,
                pretrained_cfg_overlay=overlay,
                **timm_options(architecture, size),
            )
    except Exception as error:  # timm's filters of names fail in many ways at what is not theirs
        if overlay:
            raise InputError(
                f"encoder.weights imagenet: {placed} does not fit {name} ({reason_of(error)}); {what} again"
            ) from None
        raise _no_download(error, what, file) from None
    return network.state_dict()


def _is_reachable(config: Any) -> bool:
    """Whether the hub that has the weights answers, asked once; true where they are elsewhere."""
    if not config.hf_hub_id:
        return True
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # half a second
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(config.hf_hub_id, config.hf_hub_filename or "model.safetensors"), timeout=10)
    except HfHubHTTPError:  # an answer, be it a refusal
        return True
    except Exception:  # of whatever carries its requests
        return False
    return True


@contextlib.contextmanager
def _cache_alone(*, unless: bool) -> Iterator[None]:
    """The hub's library looks into its cache alone: without a network it would go on trying for most of a minute."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not unless
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _no_download(error: Exception, what: str, file: str) -> InputError:
    return InputError(
        f"encoder.weights imagenet: the download failed ({reason_of(error)}); {what} by hand and put it into "
        f"{_folder()} as {file}, or give the file's path"
    )
