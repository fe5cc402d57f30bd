"""The optimiser's state by the name of its parameter, whatever the number of ranks and the ZeRO stage.

DeepSpeed's own checkpoints of ZeRO 1 and 2 hold one partition a rank, and it refuses to load them on another number of
ranks (0.19: "Automatic adjustment of ZeRO's optimizer state partitioning ... is not currently supported", short of an
offline conversion to its universal format). Here partitions are put together when a checkpoint is written and cut anew
when it is loaded, so it fits any number of ranks and any stage from 0 to 2, to the bit.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from train.ranks.world import World

State = dict[str, dict[str, Any]]


def optimizer_state(engine: Any, model: nn.Module, world: World) -> State:
    """Each parameter's state, whole, such as ``{"encoder.conv1.weight": {"step": ..., "exp_avg": ...}}``. All ranks
    call it together. Under ZeRO this adds each tensor up over the ranks."""
    names = _names(model)
    if not _is_partitioned(engine):
        return {names[id(parameter)]: dict(state) for parameter, state in engine.optimizer.state.items()}
    whole: State = {}
    for parameters, flat, state in _groups(engine):
        for parameter in parameters:
            own = whole[names[id(parameter)]] = {}
            for key, value in state.items():
                if not _is_flat(value, flat):
                    own[key] = value
                    continue
                full = value.new_zeros(parameter.numel())
                for inside, outside in _fragment(parameter):
                    full[inside] = value[outside]
                own[key] = world.total(full).view_as(parameter)
    return whole


def load_optimizer_state(engine: Any, model: nn.Module, saved: State) -> None:
    """Takes back what :func:`optimizer_state` gave, on a fresh engine whose model has its weights already."""
    names = _names(model)
    if not _is_partitioned(engine):
        for parameter in model.parameters():
            if names[id(parameter)] in saved:
                own = saved[names[id(parameter)]]
                engine.optimizer.state[parameter] = {key: _placed(value, parameter) for key, value in own.items()}
        return
    engine.optimizer.refresh_fp32_params()  # its copies of the weights
    for parameters, flat, state in _groups(engine):
        for parameter in parameters:
            for key, value in saved.get(names[id(parameter)], {}).items():
                if not isinstance(value, Tensor) or value.shape != parameter.shape or key == "step":
                    state[key] = _placed(value, flat)
                    continue
                if key not in state:
                    state[key] = torch.zeros_like(flat, dtype=value.dtype)
                for inside, outside in _fragment(parameter):
                    state[key][outside] = value.flatten()[inside].to(flat.device)


def _names(model: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}


def _is_partitioned(engine: Any) -> bool:
    return bool(engine.zero_optimization_stage())


def _groups(engine: Any) -> Iterator[tuple[list[nn.Parameter], Tensor, dict[str, Any]]]:
    """Parameters, this rank's flat fp32 partition of them, and the optimiser's state of that partition."""
    zero = engine.optimizer
    for parameters, flat in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
        yield parameters, flat, zero.optimizer.state[flat]


def _is_flat(value: Any, flat: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == flat.shape


def _fragment(parameter: Any) -> list[tuple[slice, slice]]:
    """Where this rank's share of a parameter lies: in the parameter, flattened, and in the partition."""
    mapping = parameter._hp_mapping  # None where the rank has no share
    if mapping is None:
        return []
    inside, outside = mapping.lp_fragment_address, mapping.hp_fragment_address
    return [(slice(inside.start, inside.start + inside.numel), slice(outside.start, outside.start + outside.numel))]


def _placed(value: Any, like: Tensor) -> Any:
    return value.to(like.device, copy=True) if isinstance(value, Tensor) else value
