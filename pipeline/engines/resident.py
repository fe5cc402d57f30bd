"""Pixels that stay: every image is decoded once, and from then on views are made without decoding.

Host memory is shared by the ranks of one machine: what one has decoded, all have. A rank with a GPU keeps the pixels in
the GPU's memory instead where they fit. Under a global shuffle every rank comes to need every row, so each machine (or
GPU) holds the whole selection. Nobody waits for the filling: a row that is not there yet is decoded when it is needed,
and threads that have nothing to do decode what comes next.

``N`` rows of the selection; figures: CheXpert-small at 320 px is 27 GB of pixels, 2.1 GB is 16,000 images.
"""

import mmap
import os
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch

from pipeline.engines.contract import Rows
from pipeline.engines.samples import Pixels, Samples
from pipeline.ranks import gather, have_met, machine
from pipeline.views import Fill
from shards.base.errors import InputError
from shards.index import ShardIndex

_DECODED_AHEAD = 256  # images on their way to a device


def decoded_bytes(index: ShardIndex) -> int:
    """Bytes of the selection's pixels, one a pixel, and its flags."""
    return int(index.sizes().prod(axis=1).sum()) + len(index)


class Layout:
    """Where each row's pixels lie in one flat array."""

    def __init__(self, index: ShardIndex) -> None:
        self.rows = index.rows
        ends = np.cumsum(index.sizes().prod(axis=1))
        self.starts = np.concatenate([[0], ends[:-1]])
        self.total = int(ends[-1])
        self._slots = np.full(int(index.rows.max()) + 1, -1, dtype=np.int64)  # a look-up for each image must be quick
        self._slots[index.rows] = np.arange(len(index))

    def slots(self, rows: Rows) -> Rows:
        """Number of each row in the layout, (B,)."""
        return self._slots[rows]


class PixelStore:
    """A :class:`pipeline.engines.threads.PixelSource` in host memory that keeps what it has decoded.

    Memory is taken page by page as rows come in; it is given back when the last rank lets go of it, also when all of
    them are killed.
    """

    def __init__(self, samples: Samples, *, rank: int = 0, world_size: int = 1) -> None:
        self.samples = samples
        self._layout = Layout(samples.index)
        self._sizes = samples.index.sizes()
        num_rows = len(self._layout.rows)
        memory = _shared_memory(num_rows + self._layout.total, rank=rank, world_size=world_size)
        everything = np.frombuffer(memory, dtype=np.uint8)
        self._is_filled, self._pixels = everything[:num_rows], everything[num_rows:]
        first = rank * num_rows // world_size  # each rank fills from another place, so that they meet late
        self._to_fill = iter([*range(first, num_rows), *range(first)])

    @property
    def num_filled(self) -> int:
        """Rows whose pixels are here."""
        return int(self._is_filled.sum())

    def pixels(self, row: int, height: int, width: int, scratch: Pixels) -> Pixels:
        slot = int(self._layout.slots(np.asarray(row)))
        start = int(self._layout.starts[slot])
        place = self._pixels[start : start + height * width].reshape(height, width)
        if not self._is_filled[slot]:
            # Two threads or ranks that decode the same row write the same bytes.
            self.samples.decode(row, place)
            self._is_filled[slot] = 1
        return place

    def fill_one(self) -> bool:
        """Decodes one more row; False when every row has had its turn."""
        for slot in self._to_fill:
            if not self._is_filled[slot]:
                width, height = self._sizes[slot].tolist()
                try:
                    self.pixels(int(self._layout.rows[slot]), height, width, self._pixels[:0])
                except InputError:
                    return True  # reported when a batch asks for the row
                return True
        return False

    def close(self) -> None:
        """Lets go of the memory, which must not be in use."""
        self._is_filled = self._pixels = np.empty(0, dtype=np.uint8)


class DeviceStore:
    """Pixels in device memory: ``put`` as they are decoded, ``take`` for a batch."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.samples = samples
        self._layout = Layout(samples.index)
        self._sizes = samples.index.sizes()
        self._is_filled = np.zeros(len(self._sizes), dtype=bool)
        self._pixels = torch.empty(self._layout.total, dtype=torch.uint8, device=device)
        self._to_fill = iter(range(len(self._sizes)))
        self._decoded: deque[tuple[int, torch.Tensor]] = deque()

    @property
    def num_filled(self) -> int:
        """Rows whose pixels are here."""
        return int(self._is_filled.sum())

    def missing(self, rows: Rows) -> Rows:
        """Positions in ``rows`` of those that are not here."""
        return np.flatnonzero(~self._is_filled[self._layout.slots(rows)])

    def put(self, rows: Rows, images: Sequence[torch.Tensor]) -> None:
        """Keeps the pixels of rows (B,), each given in the corner of an (H, W), pinned or on the device."""
        for slot, image in zip(self._layout.slots(rows).tolist(), images, strict=True):
            width, height = self._sizes[slot].tolist()
            start = int(self._layout.starts[slot])
            place = self._pixels[start : start + height * width].view(height, width)
            place.copy_(image[:height, :width], non_blocking=True)
            self._is_filled[slot] = True

    def decode_one(self) -> bool:
        """Decodes one more row for :meth:`put_decoded`, in any thread; False when there is enough of them, or every row
        has had its turn."""
        if len(self._decoded) >= _DECODED_AHEAD:
            return False
        for slot in self._to_fill:
            if not self._is_filled[slot]:
                width, height = self._sizes[slot].tolist()
                image = torch.empty(height, width, dtype=torch.uint8, pin_memory=self._pixels.is_cuda)
                row = int(self._layout.rows[slot])
                try:
                    self.samples.decode(row, image.numpy())
                except InputError:
                    return True  # reported when a batch asks for the row
                self._decoded.append((row, image))
                return True
        return False

    def put_decoded(self) -> None:
        """Keeps what :meth:`decode_one` has decoded."""
        while self._decoded:
            row, image = self._decoded.popleft()
            self.put(np.array([row]), [image])

    def take(self, rows: Rows, fill: Fill) -> torch.Tensor:
        """Grey levels (B, H, W) of rows that are here, H and W the largest among them; beyond an image is the fill, or
        its edge."""
        slots = self._layout.slots(rows)
        device = self._pixels.device
        about = np.concatenate([self._layout.starts[slots, None], self._sizes[slots]], axis=1)
        host = torch.from_numpy(about)
        if device.type == "cuda":
            host = host.pin_memory()
        start, width, height = host.to(device, non_blocking=True)[:, :, None, None].unbind(1)  # each (B, 1, 1)
        largest_width, largest_height = self._sizes[slots].max(axis=0).tolist()
        x = torch.arange(largest_width, device=device)[None, None]
        y = torch.arange(largest_height, device=device)[None, :, None]
        places = start + torch.minimum(y, height - 1) * width + torch.minimum(x, width - 1)
        images = self._pixels[places]
        return images if fill == "edge" else images.masked_fill_((x >= width) | (y >= height), fill)


def _shared_memory(num_bytes: int, *, rank: int, world_size: int) -> mmap.mmap:
    """Zeros that the ranks of one machine share, if they have a process group. Nothing of it is left on disk or in
    memory when the last of them is gone."""
    if not have_met(world_size):
        return mmap.mmap(-1, num_bytes)
    made = os.memfd_create("moco-cxr-pixels")
    offers = gather((machine(), os.getpid(), made))
    leader = [offer[0] for offer in offers].index(machine())
    if leader == rank:
        os.ftruncate(made, num_bytes)
    gather(None)  # the leader's memory has its size
    if leader == rank:
        descriptor = made
    else:
        _, process, number = offers[leader]
        descriptor = os.open(f"/proc/{process}/fd/{number}", os.O_RDWR)
    memory = mmap.mmap(descriptor, num_bytes)
    gather(None)  # all have it
    for each in {made, descriptor}:
        os.close(each)
    return memory
