"""Where in an image what an encoder makes of it is: its stages, and their outputs as maps.

Legend: B images, C channels, h w places.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A module whose output has ``num_channels`` at each place; ``is_rectified_behind``: by what follows the module."""

    module: str
    num_channels: int
    is_rectified_behind: bool = False


def stages(encoder: Any) -> list[Stage]:
    """The stages that a network's ``feature_info`` names, in the order in which images pass them; empty where it has
    none."""
    info = getattr(encoder, "feature_info", ())
    return [
        Stage(
            module=each["module"],
            num_channels=each["num_chs"],
            is_rectified_behind=each.get("is_rectified_behind", False),
        )
        for each in info
    ]


def as_map(output: object, num_channels: int, *, num_prefix_tokens: int | None = None) -> Tensor | None:
    """A map (B, C, h, w) of what a module gives: (B, C, h, w), (B, h, w, C), or tokens (B, p + h * w, C) of a square
    view, the first p of which have no place; None of anything else.

    Args:
        num_prefix_tokens: p; default: what is over a square.
    """
    if not isinstance(output, Tensor):
        return None
    if output.ndim == 4 and output.shape[1] == num_channels:
        return output
    if output.ndim == 4 and output.shape[3] == num_channels:
        return output.permute(0, 3, 1, 2)
    if output.ndim != 3 or output.shape[2] != num_channels:
        return None
    num_tokens = output.shape[1]
    prefix = num_tokens - math.isqrt(num_tokens) ** 2 if num_prefix_tokens is None else num_prefix_tokens
    side = math.isqrt(num_tokens - prefix)
    return output[:, prefix:].transpose(1, 2).unflatten(2, (side, -1))


def last_map(encoder: Any, images: Tensor) -> Tensor | None:
    """The encoder's last map (B, F, h, w), before pooling, for views (B, 1, H, W); None where it has no map of its
    features' width."""
    prefix = getattr(encoder, "num_prefix_tokens", None)
    if hasattr(encoder, "forward_features"):  # timm's
        return as_map(encoder.forward_features(images), encoder.num_features, num_prefix_tokens=prefix)
    for stage in stages(encoder)[-1:]:
        kept: list[Tensor] = []
        hook = encoder.get_submodule(stage.module).register_forward_hook(_keep_in(kept))
        try:
            encoder(images)
        finally:
            hook.remove()
        return torch.relu(kept[0]) if stage.is_rectified_behind else kept[0]
    return None


def _keep_in(kept: list[Tensor]) -> Any:
    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may change it in place

    return keep
