import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from pipeline.loader import Batch, build_loader
from pipeline.torch_dataset import LabelBatch, LoaderDataset, RowBatch
from pipeline.views import PRESETS
from shards.base.errors import InputError
from shards.index import ShardIndex

SPEC = replace(PRESETS["crop_contrast"], size=48, area=(0.9, 1.0))
ROWS = np.array([40, 10, 30, 20, 70, 60, 50])


class SmallLoader:
    """The loader's contract in a few lines: batches of two of ROWS, two views that are the row and its negative."""

    def __init__(self):
        self.epoch = self.position = 0

    def __len__(self):
        return 4

    def __iter__(self):
        while self.position < len(ROWS):
            rows = torch.from_numpy(np.roll(ROWS, self.epoch)[self.position : self.position + 2].copy())
            self.position += 2
            grey = rows.float()[:, None, None, None].expand(-1, 1, 8, 8)
            yield Batch((grey, -grey), rows)
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self):
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state):
        self.epoch, self.position = state["epoch"], state["position"]


def rows_of(batches):
    return [batch.rows.tolist() for batch in batches]


def test_batches_pass_through_a_dataloader_one_epoch_an_iteration():
    loader = DataLoader(LoaderDataset(SmallLoader()), batch_size=None)
    assert len(loader) == 4
    for epoch in range(2):
        expected = SmallLoader()
        expected.epoch = epoch
        batches = list(loader)
        assert rows_of(batches) == rows_of(expected)
        for batch in batches:
            assert isinstance(batch, RowBatch)
            (query, key), rows = batch
            assert query.shape == (len(rows), 1, 8, 8)
            assert (query[:, 0, 0, 0] == rows).all()
            assert (key == -query).all()


@pytest.mark.parametrize("shape", [(), (3,)])
def test_labels_join_by_row(shape):
    order = np.array([3, 1, 0, 2, 6, 5, 4])  # labels of the selection in another order than it is loaded in
    labels = (ROWS[order] / 10 + np.zeros((*shape, 1))).T.reshape(-1, *shape).astype(np.float32)
    dataset = LoaderDataset(SmallLoader(), labels=labels, rows=ROWS[order])
    for batch in DataLoader(dataset, batch_size=None):
        assert isinstance(batch, LabelBatch)
        views, found = batch
        assert found.dtype == torch.float32
        assert found.shape == (len(views[0]), *shape)
        assert (found.reshape(len(found), -1) * 10 == views[0][:, 0, 0, :1]).all()


@pytest.mark.parametrize("kind", [torch.from_numpy, np.ndarray.tolist, lambda values: values[::-1][::-1]])
@pytest.mark.parametrize("rows_kind", [torch.from_numpy, np.ndarray.tolist])
def test_labels_and_rows_may_be_tensors_and_lists(kind, rows_kind):
    values = ROWS.astype(np.float32)
    dataset = LoaderDataset(SmallLoader(), labels=kind(values), rows=rows_kind(ROWS))
    for views, found in dataset:
        assert found.dtype == torch.float32
        assert found.tolist() == views[0][:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": np.zeros(7)}, "give rows=index.rows"),
        ({"labels": np.zeros(6), "rows": ROWS}, "labels: 6 for 7 rows"),
        ({"labels": ["a"] * 7, "rows": ROWS}, "labels: holds no numbers; give an array, a tensor or a list"),
        ({"labels": np.array([None] * 7), "rows": ROWS}, "labels: holds no numbers"),
        ({"labels": 3, "rows": ROWS}, "labels 3: is one number"),
        ({"labels": np.zeros(7), "rows": ROWS / 2}, r"rows: \(7,\) of float64; give the row numbers"),
    ],
)
def test_labels_that_cannot_be_joined_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LoaderDataset(SmallLoader(), **options)


@pytest.mark.parametrize("missing", [40, 10, 70])  # the first one loaded, the lowest and the highest number
def test_a_row_without_label_is_named(missing):
    rows = ROWS[missing != ROWS]
    dataset = LoaderDataset(SmallLoader(), labels=np.zeros(len(rows)), rows=rows)
    with pytest.raises(InputError, match=f"none for row {missing}"):
        list(dataset)


def test_restored_in_mid_epoch_it_goes_on_behind_the_last_batch():
    dataset = LoaderDataset(SmallLoader())
    batches = iter(DataLoader(dataset, batch_size=None))
    next(batches)
    state = dataset.state_dict()
    rest = rows_of(batches) + rows_of(dataset)
    again = LoaderDataset(SmallLoader())
    again.load_state_dict(state)
    found = DataLoader(again, batch_size=None)
    assert rows_of(found) + rows_of(found) == rest
    assert len(rest) == 3 + 4


def test_stateful_dataloader_restores_it():
    def build():
        return StatefulDataLoader(LoaderDataset(SmallLoader()), batch_size=None)

    for num_done in (1, 3, 4):
        loader = build()
        batches = iter(loader)
        for _ in range(num_done):
            next(batches)
        state = copy.deepcopy(loader.state_dict())
        rest = rows_of(batches)
        following = rows_of(loader)
        again = build()
        again.load_state_dict(state)
        assert rows_of(again) == rest
        assert rows_of(again) == following


@pytest.mark.parametrize("labels", [None, np.zeros(7)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_of_batches_are_refused(batch_size, labels):
    dataset = LoaderDataset(SmallLoader(), labels=labels, rows=ROWS)
    with pytest.raises(InputError, match="batch_size.*give batch_size=None"):
        next(iter(DataLoader(dataset, batch_size=batch_size)))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes_are_refused(start):
    dataset = LoaderDataset(SmallLoader())
    loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=start)
    with pytest.raises(InputError, match="give num_workers=0"):
        next(iter(loader))


def test_over_a_real_loader_with_labels_of_its_selection(tiny_dataset):
    index = ShardIndex.open(tiny_dataset).where(split="test").take(np.arange(31, 2, -1))
    labels = index.labels("blob")
    expected = dict(zip(index.rows.tolist(), labels.tolist(), strict=True))
    assert set(labels) == {0.0, 1.0}
    with build_loader(index, SPEC, batch_size=8, seed=3, last="short") as loader:
        seen = [row for batch in loader for row in batch.rows.tolist()]
    with build_loader(index, SPEC, batch_size=8, seed=3, last="short") as loader:
        found = DataLoader(LoaderDataset(loader, labels=labels, rows=index.rows), batch_size=None)
        assert len(found) == 4
        batches = list(found)
    assert [len(batch.labels) for batch in batches] == [8, 8, 8, 5]
    assert all(view.shape == (len(batch.labels), 1, 48, 48) for batch in batches for view in batch.views)
    assert torch.cat([batch.labels for batch in batches]).tolist() == [expected[row] for row in seen]


def test_over_a_real_loader_the_rest_of_an_epoch_is_bit_identical(tiny_dataset):
    index = ShardIndex.open(tiny_dataset).where(split="train")
    with build_loader(index, SPEC, batch_size=8, seed=3) as loader:
        dataset = LoaderDataset(loader)
        batches = iter(DataLoader(dataset, batch_size=None))
        for _ in range(3):
            next(batches)
        state = dataset.state_dict()
        rest = list(batches)
    with build_loader(index, SPEC, batch_size=8, seed=3) as loader:
        dataset = LoaderDataset(loader)
        dataset.load_state_dict(state)
        again = list(DataLoader(dataset, batch_size=None))
    assert len(rest) == len(again) == 5
    for a, b in zip(rest, again, strict=True):
        assert torch.equal(a.rows, b.rows)
        assert all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))
