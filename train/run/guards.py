"""What stops a run that is of no more use: the first loss that is not finite, or ranks that no longer hold the same."""

import hashlib
import json
from collections import deque
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.ranks import gather
from shards.base.atomic import atomic_write
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.methods.contract import Method
from train.ranks.world import World
from train.trainer import Progress

_NEVER = 2**62
_NUM_IMAGES = 4  # that the message names; the file names all
_NUM_TENSORS = 3  # that the message names


class LossWatch:
    """Keeps the number of the first batch with a NaN or infinite loss, on the device, and its rows, on the CPU."""

    def __init__(self, index: ShardIndex, folder: Path, world: World) -> None:
        self.index, self.folder, self.world = index, folder, world
        self._first = torch.full((), _NEVER, device=world.device)
        self._batches: deque[tuple[Progress, Tensor]] = deque()

    def observe(self, loss: Tensor, progress: Progress, rows: Tensor) -> None:
        """Takes note of a batch, ``progress`` being what was done before it; does not wait for the device."""
        isfinite = torch.isfinite(loss.detach())
        self._first = torch.where(isfinite, self._first, self._first.clamp(max=progress.batch))
        self._batches.append((progress, rows))

    def check(self, last_good: Path | None) -> None:
        """Looks at the batches since the last check; waits for the device. All ranks call it together.

        Raises:
            InputError: the step, the images and the checkpoint to go back to; ``nonfinite.json`` in the run folder
                names all images of the batch.
        """
        first = int(self._first)
        firsts = gather(first) if self.world.size > 1 else [first]
        if min(firsts) == _NEVER:
            self._batches.clear()
            return
        rank = firsts.index(min(firsts))
        progress, rows = next(batch for batch in self._batches if batch[0].batch == min(firsts))
        everyones = gather(rows.tolist()) if self.world.size > 1 else [rows.tolist()]
        step, bad = progress.step + 1, everyones[rank]
        keys = self.index.column("key")[self.index.positions(torch.tensor(bad).numpy())].tolist()
        path = self.folder / "nonfinite.json"
        if self.world.leads:
            found = {"step": step, "rank": rank, "rows": bad, "keys": keys}
            atomic_write(path, json.dumps(found, indent=1) + "\n")
        shown = ", ".join(f"{row} ({key})" for row, key in list(zip(bad, keys, strict=True))[:_NUM_IMAGES])
        back = "there is no checkpoint before it" if last_good is None else f"the last good checkpoint is {last_good}"
        raise InputError(
            f"loss: not finite at step {step} on rank {rank}, images {shown}{', ...' * (len(bad) > _NUM_IMAGES)}, all "
            f"in {path}; {back}; look at these images, or lower optimizer.lr, set run.gradient_clipping 1, or use "
            "run.precision fp32, with a new --output"
        )


_FAULT = (
    "a device or a connection is faulty, or the method does not treat the ranks alike: go back to a checkpoint from "
    "before"
)
START = "encoder.weights or the checkpoint are not the same on all machines: make them so"


def compare_ranks(method: Method, world: World, *, step: int, cause: str = _FAULT) -> None:
    """Compares hashes of everything that is to be equal on all ranks: the trained weights, and the method's own state
    such as key encoder and queue; running statistics are each rank's own. Copies it all to the CPU: about 0.3 s for
    ResNet18 and its momentum copy.

    Args:
        cause: of a difference, and what to do about it.

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
    parts = sorted({name.partition(".")[0] for name in differing})
    shown = ", ".join(differing[:_NUM_TENSORS]) + ", ..." * (len(differing) > _NUM_TENSORS)
    raise InputError(
        f"run.check_ranks: at step {step}, {' and '.join(parts)} of rank(s) {', '.join(map(str, odd))} differ from "
        f"rank 0's: {shown} ({len(differing)} tensors of {len(everyone[0])}); {cause}"
    )


def state_hashes(method: Method) -> dict[str, str]:
    """A hash of all that is to be equal on all ranks, by a name such as ``model.encoder.conv1.weight``."""
    return {name: _hash(value) for name, value in method.shared_state().items()}


def _hash(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    return hashlib.sha256(value.detach().cpu().contiguous().view(-1).numpy().tobytes()).hexdigest()
