"""Proof that the ranks hold the same weights, momentum copy and queue."""

import hashlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from pipeline.ranks import gather
from shards.base.errors import InputError
from train.methods.contract import Method
from train.world import World

_SHOWN = 3


def compare_ranks(method: Method, world: World, *, step: int) -> None:
    """Compares hashes of everything that is to be equal on all ranks: the trained weights, and the method's own state
    such as key encoder and queue; running statistics are each rank's own. Copies it all to the CPU: about 0.3 s for
    ResNet18 and its momentum copy.

    Raises:
        InputError: naming what differs, and on which ranks.
    """
    if world.size == 1:
        return
    everyone = gather(state_hashes(method))
    differing = [name for name in everyone[0] if len({hashes.get(name) for hashes in everyone}) > 1]
    if not differing:
        return
    odd = [rank for rank, hashes in enumerate(everyone) if any(hashes[name] != everyone[0][name] for name in differing)]
    parts = sorted({name.partition("/")[0] for name in differing})
    shown = ", ".join(differing[:_SHOWN]) + ", ..." * (len(differing) > _SHOWN)
    raise InputError(
        f"run.check_ranks: at step {step}, {' and '.join(parts)} of rank(s) {', '.join(map(str, odd))} differ from "
        f"rank 0's: {shown} ({len(differing)} tensors of {len(everyone[0])}); a device or a connection is faulty, or "
        "the method does not treat the ranks alike: go back to a checkpoint from before"
    )


def state_hashes(method: Method) -> dict[str, str]:
    """A hash of each tensor that is to be equal on all ranks, by a name such as ``weights/encoder.conv1.weight``."""
    own = {buffer.data_ptr() for buffer in method.rank_buffers().values()}
    hashes = {f"weights/{name}": _hash(parameter) for name, parameter in method.model.named_parameters()}
    for name, value in _leaves(method.state_dict()):
        if not isinstance(value, Tensor):
            hashes[name] = repr(value)
        elif value.data_ptr() not in own:
            hashes[name] = _hash(value)
    return hashes


def _leaves(state: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in state.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _hash(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes()).hexdigest()
