"""What a loader is asked for is checked before anything is made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.loader import build_loader
from pipeline.views import PRESETS
from shards.base.errors import InputError
from shards.index import ShardIndex

SPEC = replace(PRESETS["crop_contrast"], size=48, area=(0.9, 1.0))


@pytest.fixture
def index(tiny_dataset: Path) -> ShardIndex:
    """64 images."""
    return ShardIndex.open(tiny_dataset).where(split="train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 65}, "batch size 65"),
        ({"batch_size": 0}, "batch_size 0: out of range; give 1 to 2147483647"),
        ({"batch_size": "16"}, "batch_size '16': give a whole number"),
        ({"batch_size": 16.0}, "batch_size 16.0: give a whole number"),
        ({"batch_size": 4, "rank": 2, "world_size": 2}, "rank 2: out of range; give 0 to 1"),
        ({"batch_size": 4, "num_views": 0}, "num_views 0: out of range; give 1"),
        ({"batch_size": 4, "weights": 3}, "weights 3: give a list of numbers or None"),
        ({"batch_size": 4, "weights": "31"}, "weights '31': give a list of numbers or None"),
        ({"batch_size": 4, "seed": "a"}, "seed 'a': give a whole number"),
        ({"batch_size": "4", "seed": "a"}, "batch_size '4': .*\nseed 'a': "),
        ({"batch_size": 4, "engine": "ffcv"}, "engine 'ffcv'"),
        ({"batch_size": 4, "device": "cuda"}, "no CUDA device"),
        ({"batch_size": 4, "num_threads": 0}, "num_threads 0"),
        ({"batch_size": 4, "on_damage": "ignore"}, "on_damage 'ignore': give error or skip"),
        ({"batch_size": 4, "engine": "resident", "resident_bytes": 1000}, "engine resident: .* may take 0.0 MB"),
    ],
)
def test_wrong_settings_are_named(index: ShardIndex, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_loader(index, SPEC, **options)


def test_an_index_or_spec_that_is_none_is_named(index: ShardIndex) -> None:
    with pytest.raises(InputError, match=r"index 'data/chexpert': give what moco_cxr.open_index\('data/chexpert'\)"):
        build_loader("data/chexpert", SPEC, batch_size=4)
    with pytest.raises(InputError, match="spec None: give the name of a preset"):
        build_loader(index, None, batch_size=4)


def test_numbers_of_numpy_and_torch_are_numbers(index: ShardIndex) -> None:
    settings = {"batch_size": np.int64(8), "seed": torch.tensor(3), "weights": np.float32([1]), "rank": np.uint8(0)}
    with build_loader(index, SPEC, engine="kornia", **settings) as loader:
        assert loader.state_dict() == {"seed": 3, "epoch": 0, "position": 0}
        assert type(loader.state_dict()["seed"]) is int
        assert len(loader) == 8
