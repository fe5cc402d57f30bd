"""Any network of timm as an encoder: found by name, built for gray views of a size, without a classifier.

Where timm's own table says that a network fixes its image size, it is built for the size of the views. Dropout and
stochastic depth are turned off: views are what is random in pretraining, and those are addressed.
"""

import difflib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from shards.base.errors import InputError
from shards.base.words import reason_of
from train.settings.architectures import ENCODERS, TIMM, Architecture, check_name, check_view_size


def architecture_of(name: str) -> Architecture:
    """What ``encoder.name`` names.

    Raises:
        InputError: there is no such network, with the nearest names.
    """
    check_name(name)
    if name in ENCODERS:
        return ENCODERS[name]
    model = name.removeprefix(TIMM)
    config = config_of(model)
    stems, heads = config.first_conv or (), config.classifier or ()
    return Architecture(
        library="timm",
        model=model,
        stems=(stems,) if isinstance(stems, str) else tuple(stems),
        heads=(heads,) if isinstance(heads, str) else tuple(heads),
    )


def check_encoder(name: str, size: int) -> None:
    """Refuses, before anything is computed, a network that there is not, or that does not take gray views of ``size``
    pixels to pooled features. Nothing is allocated: the network is tried on torch's meta device.

    Raises:
        InputError: naming the nearest names or sizes.
    """
    architecture = architecture_of(name)
    check_view_size(name, size)
    if name in ENCODERS or not (why := _refusal(architecture, size, channels=1)):
        return
    if not _refusal(architecture, size, channels=3):
        raise InputError(f"encoder.name {name}: takes no gray input ({why}); choose another network")
    own = config_of(architecture.model).input_size[-1]
    whys = {each: _refusal(architecture, each, channels=1) for each in sorted({*_beside(size), own})}
    fitting = [str(each) for each in whys if not whys[each]]
    if fitting:
        raise InputError(
            f"views.size {size}: {name} does not take it ({why}); use {' or '.join(fitting)}, or another network"
        )
    if not _refusal(architecture, own, channels=3):
        raise InputError(f"encoder.name {name}: takes no gray input ({whys[own]}); choose another network")
    raise InputError(f"encoder.name {name}: gives no pooled features of an image ({whys[own]}); choose another network")


def _beside(size: int) -> tuple[int, int]:
    """The multiples of 32 px, which nearly all networks take, on both sides."""
    below = max(size // 32, 1) * 32
    return below, below + 32


def build_timm(architecture: Architecture, size: int | None, *, channels: int = 1) -> Any:
    """The network as timm initialises it, from torch's global random state; ``num_features`` is the width that comes
    out.

    Args:
        size: of the views, in pixels, for networks that fix it; default: their own.
    """
    import timm  # takes more than a second

    network = timm.create_model(
        architecture.model, in_chans=channels, num_classes=0, **timm_options(architecture, size)
    )
    network.num_features = network.head_hidden_size
    _turn_off_dropout(network)
    return network


def timm_options(architecture: Architecture, size: int | None) -> dict[str, Any]:
    """What timm's factory is told of a network beside name, channels and classes."""
    if architecture.has_dynamic_size:
        return {**architecture.options, "dynamic_img_size": True}
    if size is not None and config_of(architecture.model).fixed_input_size:
        return {**architecture.options, "img_size": size}
    return dict(architecture.options)


def config_of(model: str) -> Any:
    """timm's table of a network: its input, its weights, its first and last layers.

    Raises:
        InputError: there is no such network, or no such weights of it behind a dot.
    """
    import timm
    from timm.models import get_pretrained_cfg

    base, _, tag = model.partition(".")
    if not timm.is_model(base):
        nearest = difflib.get_close_matches(base, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(TIMM + each for each in nearest)}? " if nearest else ""
        raise InputError(
            f"encoder.name {TIMM}{model}: timm {timm.__version__} has no such network; {hint}"
            "timm.list_models() names all"
        )
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        raise InputError(
            f"encoder.name {TIMM}{model}: there are no weights {tag} of {base}; give {TIMM}{base}"
            + (f", or with one of .{', .'.join(tags)}" if any(tags) else "")
        )
    return get_pretrained_cfg(model, allow_unregistered=False)


def _refusal(architecture: Architecture, size: int, *, channels: int) -> str:
    """Why views of a size are not taken to pooled features; empty where they are."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            torch.random.fork_rng(devices=[]),
            torch.device("meta"),
            torch.no_grad(),
        ):
            network = build_timm(architecture, size, channels=channels)
            features = network.eval()(torch.zeros(2, channels, size, size))
    except Exception as error:  # networks say in many kinds what they do not take
        return reason_of(error)
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    side = max(patch) if isinstance(patch, tuple) else patch
    if isinstance(side, int) and size % side:
        return f"it takes multiples of {side} px"
    if not isinstance(features, Tensor) or features.shape != (2, network.num_features):
        return f"it gives {_shape(features)}, not {network.num_features} features an image"
    return ""


def _shape(output: object) -> str:
    return " x ".join(map(str, output.shape)) if isinstance(output, Tensor) else type(output).__name__


def _turn_off_dropout(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name in ("drop_prob", "drop_rate"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
