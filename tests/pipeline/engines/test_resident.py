import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from pipeline.engines.resident import DeviceStore, PixelStore
from pipeline.engines.samples import Samples, decode_gray
from shards.index import ShardIndex

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
    store.put(rows[[0, 2]], list(torch.nn.functional.pad(images[[0, 2]], (0, 9, 0, 5))))
    assert store.missing(rows).tolist() == [1]
    assert store.decode_one()
    assert store.num_filled == 2
    store.put_decoded()
    assert store.num_filled == 3
    assert sum(iter(store.decode_one, False)) == len(samples.index) - 3
    store.put_decoded()
    assert torch.equal(store.take(rows, fill=0), images)


@pytest.mark.parametrize("fill", [7, "edge"])
def test_images_of_several_sizes_are_padded(samples, fill, monkeypatch):
    sizes = samples.index.sizes()
    sizes[1] = 40, 30
    monkeypatch.setattr(ShardIndex, "sizes", lambda self: sizes)
    store = DeviceStore(samples, torch.device("cpu"))
    images = [torch.randint(0, 256, (64, 72)).byte(), torch.randint(0, 256, (30, 40)).byte()]
    store.put(samples.index.rows[:2], images)
    taken = store.take(samples.index.rows[:2], fill)
    assert torch.equal(taken[0], images[0])
    assert torch.equal(taken[1, :30, :40], images[1])
    expected = images[1][-1, -1] if fill == "edge" else fill
    assert (taken[1, 30:, 40:] == expected).all()
    assert torch.equal(taken[1, 10, 40:], (images[1][10, -1] if fill == "edge" else torch.tensor(fill)).expand(32))


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
