"""Positions that a network has learnt, for views of another size: fitted as timm fits those of its own weights."""

import math
from typing import Any

from torch import Tensor

_ABSOLUTE = "pos_embed"
_RELATIVE = ".relative_position_bias_table"


def fitted_positions(encoder: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors of ``state`` that become the encoder's by fitting them to its grid of patches, or to its windows;
    what is no such thing is left out, and so is what fits already.

    Args:
        state: by the encoder's names.
    """
    wanted = encoder.state_dict()
    others = [key for key in state if key in wanted and state[key].shape != wanted[key].shape]
    fitted: dict[str, Tensor] = {}
    for key in others:
        if key == _ABSOLUTE and hasattr(encoder, "patch_embed"):
            fitted |= _absolute(encoder, state, wanted[key])
        elif key.endswith(_RELATIVE) and state[key].ndim == 2:
            window = encoder.get_submodule(key.removesuffix(_RELATIVE)).window_size
            fitted |= _relative(key, state[key], wanted[key], window)
    return fitted


def _absolute(encoder: Any, state: dict[str, Tensor], wanted: Tensor) -> dict[str, Tensor]:
    from timm.layers import resample_abs_pos_embed

    positions, grid = state[_ABSOLUTE], getattr(encoder.patch_embed, "grid_size", None)
    if grid is None or positions.ndim != 3 or positions.shape[2:] != wanted.shape[2:]:
        return {}
    prefix = wanted.shape[1] - math.prod(grid)
    folded: dict[str, Tensor] = {}
    if prefix == 0 and not _is_square(positions.shape[1]) and "cls_token" in state:
        # timm keeps the class token's position in the token (DINOv2 with registers, Darcet et al. 2024)
        folded = {"cls_token": state["cls_token"] + positions[:, :1]}
        positions = positions[:, 1:]
    if prefix < 0 or not _is_square(positions.shape[1] - prefix):
        return {}
    new = resample_abs_pos_embed(positions, new_size=list(grid), num_prefix_tokens=prefix)
    return folded | {_ABSOLUTE: new}


def _relative(key: str, table: Tensor, wanted: Tensor, window: Any) -> dict[str, Tensor]:
    from timm.layers import resize_rel_pos_bias_table

    if table.shape[1] != wanted.shape[1] or not _is_square(table.shape[0]):
        return {}
    return {key: resize_rel_pos_bias_table(table, new_window_size=window, new_bias_shape=tuple(wanted.shape))}


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number
