"""Outputs are those of each row, in the order of the selection; the module is as it was before."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.in_order import outputs_in_order
from pipeline.loader import build_loader
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.index import ShardIndex

VIEWS = ViewSpec(size=32, rotation=10, flip=0.5, mean=0.4, std=0.2)


@pytest.fixture
def index(tiny_dataset: Path) -> ShardIndex:
    return ShardIndex.open(tiny_dataset).take([40, 3, 17, 0, 9])


@pytest.mark.parametrize("batch_size", [2, 64])
def test_values_are_those_of_each_row(index: ShardIndex, batch_size: int) -> None:
    outputs = outputs_in_order(nn.Identity(), index, VIEWS, batch_size=batch_size)
    assert outputs.values.shape == (5, 1, 32, 32)
    assert outputs.has_come.all()
    for position, value in enumerate(outputs.values):
        one = index.take([position])
        with build_loader(one, VIEWS.evaluation(), batch_size=1, num_views=1, shuffle="none", last="short") as loader:
            (batch,) = loader
        assert torch.equal(value, batch.views[0][0])


def test_the_module_evaluates_and_is_back_in_its_modes(index: ShardIndex) -> None:
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.9), nn.Dropout(0.9))
    module[1].eval()
    modes = [part.training for part in module.modules()]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    outputs = outputs_in_order(module, index, VIEWS)
    views = outputs_in_order(nn.Identity(), index, VIEWS).values
    torch.testing.assert_close(outputs.values, views, rtol=1e-4, atol=1e-5)  # no dropout, and statistics 0 and 1
    assert not outputs.values.requires_grad
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_damaged_images_are_refused_or_marked(index: ShardIndex, tiny_dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_dataset, tmp_path / "damaged"))
    row = ShardIndex.open(folder).table.slice(17, 1).to_pylist()[0]
    with (folder / row["shard"]).open("r+b") as shard:
        shard.seek(row["offset"])
        shard.write(bytes(row["length"]))
    damaged = ShardIndex.open(folder).take(index.rows)
    with pytest.raises(InputError):
        outputs_in_order(nn.Identity(), damaged, VIEWS)
    outputs = outputs_in_order(nn.Identity(), damaged, VIEWS, on_damage="skip")
    expected = outputs_in_order(nn.Identity(), index, VIEWS).values
    np.testing.assert_array_equal(outputs.has_come, [True, True, False, True, True])
    assert torch.equal(outputs.values[outputs.has_come], expected[outputs.has_come])
    assert not outputs.values[2].any()
