import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.engines.resident import DeviceStore, Layout, PixelStore
from pipeline.engines.samples import Samples, decode_gray
from shards.index import ShardIndex
from tests.gpu.launches import Launches

SCRATCH = np.empty(0, dtype=np.uint8)


@pytest.fixture
def samples(tiny_dataset):
    return Samples(ShardIndex.open(tiny_dataset).where(split="test"))


def test_a_row_is_decoded_once(samples, monkeypatch):
    store, row = PixelStore(samples), int(samples.index.rows[5])
    expected = decode_gray(samples.index.read(row))
    np.testing.assert_array_equal(store.pixels(row, 64, 72, SCRATCH), expected)
    monkeypatch.setattr(Samples, "decode", None)
    np.testing.assert_array_equal(store.pixels(row, 64, 72, SCRATCH), expected)
    assert store.num_filled == 1


def test_filling_reaches_every_row(samples):
    store = PixelStore(samples, rank=1, world_size=3)
    store.pixels(int(samples.index.rows[5]), 64, 72, SCRATCH)
    assert sum(iter(store.fill_one, False)) == len(samples.index) - 1
    assert store.num_filled == len(samples.index)
    for row in samples.index.rows.tolist():
        np.testing.assert_array_equal(store.pixels(row, 64, 72, SCRATCH), decode_gray(samples.index.read(row)))


def test_a_device_store_gives_back_what_was_put(samples):
    store = DeviceStore(samples, torch.device("cpu"))
    rows = samples.index.rows[[3, 9, 4]]
    assert store.missing(rows).tolist() == [0, 1, 2]
    images = torch.stack([torch.from_numpy(decode_gray(samples.index.read(int(row)))) for row in rows])
    store.put(rows[[0, 2]], list(torch.nn.functional.pad(images[[0, 2]], (0, 9, 0, 5), value=99)))
    assert store.missing(rows).tolist() == [1]
    assert store.decode_one()
    assert store.num_filled == 2
    store.put_decoded()
    assert store.num_filled == 3
    assert sum(iter(store.decode_one, False)) == len(samples.index) - 3
    store.put_decoded()
    store.put_decoded()
    assert torch.equal(store.take(rows, fill=0), images)


def taken_pixel_by_pixel(layout, pixels, sizes, rows, fill):
    """The reference: an index of 8 bytes for each pixel."""
    slots = layout.slots(rows)
    width, height = torch.from_numpy(sizes[slots]).T[:, :, None, None]
    y, x = torch.meshgrid(torch.arange(int(height.max())), torch.arange(int(width.max())), indexing="ij")
    start = torch.from_numpy(layout.starts[slots])[:, None, None]
    images = pixels[start + torch.minimum(y, height - 1) * width + torch.minimum(x, width - 1)]
    return images if fill == "edge" else images.masked_fill((x >= width) | (y >= height), fill)


@pytest.mark.parametrize("fill", [0, 7, "edge"])
def test_a_gather_by_cells_equals_one_by_pixels(samples, fill, monkeypatch):
    """Of images of 12 sizes, among them one line, one column, a whole cell and a pixel more."""
    sizes = samples.index.sizes()
    sizes[:12] = [(72, 64), (32, 5), (33, 64), (31, 1), (1, 9), (64, 64), (65, 3), (40, 30)] + [
        (50, 20 + i) for i in range(4)
    ]
    monkeypatch.setattr(ShardIndex, "sizes", lambda self: sizes)
    rows = samples.index.rows[np.array([3, 0, 4, 11, 7, 1, 2, 6, 5, 3])]
    layout, store = Layout(samples.index), DeviceStore(samples, torch.device("cpu"))
    pixels = torch.randint(0, 256, (layout.total,)).byte()
    for row in samples.index.rows[:12]:
        slot = int(layout.slots(row))
        width, height = sizes[slot].tolist()
        image = pixels[layout.starts[slot] : layout.starts[slot] + width * height].view(height, width)
        store.put(np.array([row]), [image])
    assert torch.equal(store.take(rows, fill), taken_pixel_by_pixel(layout, pixels, sizes, rows, fill))


def test_a_gather_takes_no_index_of_its_pixels(samples):
    """Beside the images a batch needs a byte a pixel for its mask, and an index of a quarter of a byte."""
    store = DeviceStore(samples, torch.device("cpu"))
    sum(iter(store.decode_one, False))
    store.put_decoded()
    with Largest() as largest:
        images = store.take(samples.index.rows[:16], fill=0)
    assert images.numel() == 16 * 64 * 72
    assert largest.num_bytes <= 1.5 * images.numel()


class Largest(TorchDispatchMode):
    """The most bytes that one operator has made."""

    num_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not func.is_view and made is not args[0]:
            self.num_bytes = max(self.num_bytes, made.nbytes)
        return made


def test_decoded_images_go_to_the_device_in_one_copy(samples):
    """Of 32 images it was 32."""
    store = DeviceStore(samples, torch.device("cpu"))
    assert sum(iter(store.decode_one, False)) == len(samples.index) == 32
    with Launches() as launches:
        store.put_decoded()
    assert launches.counts["_foreach_copy_"] == 1
    assert launches.total == 2, launches.counts  # and putting them together on the host


TWO_RANKS = """
import sys
import numpy as np
import torch.distributed as dist
from pipeline.engines.resident import PixelStore
from pipeline.engines.samples import Samples
from shards.index import ShardIndex

rank = int(sys.argv[1])
dist.init_process_group("gloo", rank=rank, world_size=2, init_method=sys.argv[2])
samples = Samples(ShardIndex.open(sys.argv[3]))
store = PixelStore(samples, rank=rank, world_size=2)
if rank == 0:
    while store.fill_one():
        pass
dist.barrier()
assert store.num_filled == 96, store.num_filled
Samples.decode = None
pixels = store.pixels(17, 64, 72, np.empty(0, dtype=np.uint8))
everyone = [None, None]
dist.all_gather_object(everyone, pixels.tobytes())
assert everyone[0] == everyone[1]
dist.barrier()
dist.destroy_process_group()  # a rank that leaves without it may abort when the other has gone before
"""


def test_ranks_of_a_machine_share_what_they_decode(tiny_dataset, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_RANKS, str(rank), f"file://{tmp_path}/meet", str(tiny_dataset)], env=environment
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
