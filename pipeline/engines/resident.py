"""Pixels that stay: every image is decoded once, and from then on views are made without decoding.

Host memory is shared by the ranks of one machine: what one has decoded, all have. A rank with a GPU keeps the pixels in
the GPU's memory instead where they fit. Under a global shuffle every rank comes to need every row, so each machine (or
GPU) holds the whole selection. Nobody waits for the filling: a row that is not there yet is decoded when it is needed,
and threads that have nothing to do decode what comes next.

``N`` rows of the selection; figures: CheXpert-small at 320 px is 27 GB of pixels, 2.1 GB is 16,000 images.
"""

import itertools
import mmap
import os
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from pipeline.engines.contract import Rows
from pipeline.engines.pixels import Pixels, device_pixel, device_type, pixel_type
from pipeline.engines.samples import Samples
from pipeline.ranks import gather, have_met, machine
from pipeline.upload import upload
from pipeline.views import Fill
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.stored_as import depth_of

_DECODED_AHEAD = 256  # images on their way to a device
_CELL = 32  # pixels of a line that a device gathers by one index


def decoded_bytes(index: ShardIndex) -> int:
    """Bytes of the selection's pixels, one or two a pixel, and its flags."""
    return int(index.sizes().prod(axis=1).sum()) * pixel_type(depth_of(index)).itemsize + len(index)


class Layout:
    """Where each row's pixels lie in one flat array; ``total`` are all of them."""

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
        num_bytes = self._layout.total * samples.kind.itemsize
        memory = _shared_memory(num_bytes + num_rows, rank=rank, world_size=world_size)
        everything = np.frombuffer(memory, dtype=np.uint8)
        self._pixels: Pixels = everything[:num_bytes].view(samples.kind)
        self._is_filled = everything[num_bytes:]
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
        self._is_filled = np.empty(0, dtype=np.uint8)
        self._pixels = np.empty(0, dtype=np.uint8)


class DeviceStore:
    """Pixels in device memory: ``put`` as they are decoded, ``take`` for a batch."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.samples = samples
        self._layout = Layout(samples.index)
        self._sizes = samples.index.sizes()
        self._is_filled = np.zeros(len(self._sizes), dtype=bool)
        self._pixels = torch.empty(self._layout.total + _CELL - 1, dtype=device_type(samples.kind), device=device)
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
        """Keeps the pixels of rows (B,), each given in the corner of an (H, W) on the device, by one call for all: few
        launches where each is by itself in memory."""
        slots = self._layout.slots(rows)
        places, corners = [], []
        for start, (width, height), image in zip(
            self._layout.starts[slots].tolist(), self._sizes[slots].tolist(), images, strict=True
        ):
            places.append(self._pixels[start : start + height * width].view(height, width))
            corners.append(image[:height, :width])
        if places:
            torch._foreach_copy_(places, corners)
        self._is_filled[slots] = True

    def put_flat(self, rows: Rows, pixels: torch.Tensor, *, is_whole: npt.NDArray[np.bool_]) -> None:
        """Keeps the pixels of those rows (B,) that are whole: all come one behind the other, from the host, by one
        upload and one call."""
        sizes = self._sizes[self._layout.slots(rows)]
        parts = upload(pixels, self._pixels.device).split(sizes.prod(axis=1).tolist())
        images = [part.view(height, width) for part, (width, height) in zip(parts, sizes.tolist(), strict=True)]
        self.put(rows[is_whole], list(itertools.compress(images, is_whole)))

    def decode_one(self) -> bool:
        """Decodes one more row for :meth:`put_decoded`, in any thread; False when there is enough of them, or every row
        has had its turn."""
        if len(self._decoded) >= _DECODED_AHEAD:
            return False
        for slot in self._to_fill:
            if not self._is_filled[slot]:
                width, height = self._sizes[slot].tolist()
                image = torch.empty(height, width, dtype=self._pixels.dtype)
                row = int(self._layout.rows[slot])
                try:
                    self.samples.decode(row, image.numpy().view(self.samples.kind))
                except InputError:
                    return True  # reported when a batch asks for the row
                self._decoded.append((row, image))
                return True
        return False

    def put_decoded(self) -> None:
        """Keeps what :meth:`decode_one` has decoded."""
        decoded = [self._decoded.popleft() for _ in range(len(self._decoded))]
        if decoded:
            rows, images = zip(*decoded, strict=True)
            pixels = torch.cat([image.flatten() for image in images])
            self.put_flat(np.array(rows), pixels, is_whole=np.ones(len(rows), dtype=bool))

    def take(self, rows: Rows, fill: Fill) -> torch.Tensor:
        """Pixels (B, H, W) of rows that are here, H and W the largest among them; beyond an image is the fill, or
        its edge. Beside them it takes an index of 8 bytes for 32 pixels, and a byte a pixel for what lies beyond."""
        slots = self._layout.slots(rows)
        device = self._pixels.device
        about = np.concatenate([self._layout.starts[slots, None], self._sizes[slots]], axis=1)
        start, width, height = upload(torch.from_numpy(about), device)[:, :, None, None].unbind(1)  # each (B, 1, 1)
        largest_width, largest_height = self._sizes[slots].max(axis=0).tolist()
        x = torch.arange(largest_width, device=device)
        y = torch.arange(largest_height, device=device)[:, None]
        lines = start + torch.minimum(y, height - 1) * width  # (B, H, 1)
        # The pixels from any place on are a cell; one behind a line's end has what follows, and is written over below.
        cells = torch.minimum(lines + x[::_CELL], start + width * height - 1)
        images = self._pixels.unfold(0, _CELL, 1).index_select(0, cells.flatten())
        images = images.view(len(slots), largest_height, -1)[:, :, :largest_width]
        if fill == "edge":
            return torch.where(x >= width, self._pixels[lines + width - 1], images)
        return images.masked_fill_((x >= width) | (y >= height), device_pixel(fill, images.dtype))


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
