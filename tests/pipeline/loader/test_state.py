"""States that are loaded, and a loader that is closed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.loader import build_loader
from pipeline.views import PRESETS
from shards.base.errors import InputError
from shards.index import ShardIndex

SPEC = replace(PRESETS["crop_contrast"], size=48, area=(0.9, 1.0))


@pytest.fixture
def index(tiny_dataset: Path) -> ShardIndex:
    """64 images."""
    return ShardIndex.open(tiny_dataset).where(split="train")


def test_seed_of_another_order_is_refused(index: ShardIndex) -> None:
    with (
        build_loader(index, SPEC, batch_size=8, seed=1) as loader,
        pytest.raises(InputError, match="saved order has seed 2"),
    ):
        loader.load_state_dict({"seed": 2, "epoch": 0, "position": 0})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (3, r"state 3: give what state_dict\(\) returned"),
        (None, "state None"),
        ({}, "state.seed: missing; give it\nstate.epoch: missing; give it\nstate.position: missing; give it"),
        ({"seed": 0, "epoch": 0}, "state.position: missing"),
        ({"seed": 0, "epoch": 0, "position": -8}, "state.position -8: out of range"),
        ({"seed": 0, "epoch": -1, "position": 0}, "state.epoch -1: out of range"),
        ({"seed": 0, "epoch": 0, "position": "8"}, "state.position '8'"),
        ({"seed": 0, "epoch": 0, "position": 72}, "state.position 72: beyond the 64 rows"),
    ],
)
def test_what_is_no_state_is_refused_and_changes_nothing(index: ShardIndex, state: Any, message: str) -> None:
    with build_loader(index, SPEC, batch_size=8, engine="kornia") as loader:
        loader.load_state_dict({"seed": 0, "epoch": 2, "position": 56})
        with pytest.raises(InputError, match=message):
            loader.load_state_dict(state)
        assert len(list(loader)) == 1


def test_a_closed_loader_is_told_of(index: ShardIndex) -> None:
    loader = build_loader(index, SPEC, batch_size=8, engine="kornia")
    batches = iter(loader)
    next(batches)
    loader.close()
    for each in (batches, iter(loader)):
        with pytest.raises(InputError, match="loader: is closed; build another"):
            next(each)


def test_the_state_behind_a_padded_batch_is_the_end_of_the_epoch(index: ShardIndex) -> None:
    with build_loader(index, SPEC, batch_size=48, engine="kornia", last="pad") as loader:
        states = [loader.state_dict() for _ in loader]
        assert [state["position"] for state in states] == [48, 64]
    with build_loader(index, SPEC, batch_size=8, engine="kornia", last="pad") as loader:
        loader.load_state_dict(states[-1])
        assert list(loader) == []
        assert loader.epoch == 1
