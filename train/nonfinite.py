"""Finding the first loss that is not finite, without looking at each."""

import json
from collections import deque
from pathlib import Path

import torch
from torch import Tensor

from pipeline.ranks import gather
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.checkpoint import Progress
from train.world import World

_NEVER = 2**62
_SHOWN = 4  # images that the message names; the file names all


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
            path.write_text(json.dumps({"step": step, "rank": rank, "rows": bad, "keys": keys}, indent=1) + "\n")
        shown = ", ".join(f"{row} ({key})" for row, key in list(zip(bad, keys, strict=True))[:_SHOWN])
        back = "there is no checkpoint before it" if last_good is None else f"the last good checkpoint is {last_good}"
        raise InputError(
            f"loss: not finite at step {step} on rank {rank}, images {shown}{', ...' * (len(bad) > _SHOWN)}, all in "
            f"{path}; {back}; look at these images, or lower optimizer.lr, set run.gradient_clipping 1, or use "
            "run.precision fp32, with a new --output"
        )
