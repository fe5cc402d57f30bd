import sys

import pytest
import torch

from pipeline.engines.choice import Budget, choose_engine, pixel_budget
from pipeline.engines.resident import decoded_bytes
from shards.base.errors import InputError
from shards.index import ShardIndex

PIXELS = 96 * (64 * 72 + 1)  # the tiny dataset's, and a flag for each image


@pytest.fixture
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset)


def choose(index, engine="auto", *, host=0, on_gpu=None, repeats=True):
    device = torch.device("cpu" if on_gpu is None else "cuda")
    budget = Budget(host=host, device=on_gpu or 0)
    return choose_engine(engine, index, device=device, repeats=repeats, budget=budget)


def test_the_figures(index):
    assert decoded_bytes(index) == PIXELS


def test_auto_keeps_pixels_where_they_fit(index):
    assert choose(index, host=PIXELS).name == "resident"
    assert not choose(index, host=PIXELS).keeps_on_device
    assert choose(index, host=PIXELS, on_gpu=PIXELS).keeps_on_device
    assert not choose(index, host=PIXELS, on_gpu=PIXELS - 1).keeps_on_device
    assert choose(index, host=PIXELS).reason == (
        "engine resident: the 96 images are 0.4 MB decoded, and fit the 0.4 MB they may take of memory"
    )


def test_auto_decodes_each_time_where_they_do_not_fit_or_come_once(index):
    too_many = choose(index, host=PIXELS - 1)
    assert too_many.name == "kornia"
    assert too_many.reason == (
        "engine kornia, the faster one on a CPU: "
        "the 96 images are 0.4 MB decoded, too many for the 0.4 MB they may take"
    )
    assert choose(index, host=PIXELS, repeats=False).name == "kornia"
    assert choose(index, host=0, on_gpu=PIXELS - 1).name == "dali"
    assert choose(index, host=PIXELS, on_gpu=PIXELS, repeats=False).reason.endswith("each row comes once")


@pytest.mark.parametrize("engine", ["dali", "kornia"])
def test_an_engine_asked_for_is_taken(index, engine):
    assert choose(index, engine, host=PIXELS).reason == f"engine {engine}, as asked for"


def test_resident_is_refused_with_the_figures(index):
    assert choose(index, "resident", host=PIXELS, repeats=False).name == "resident"
    with pytest.raises(InputError, match="the 96 images are 0.4 MB decoded but may take 0.1 MB"):
        choose(index, "resident", host=100_000)


def test_the_budget():
    cpu = torch.device("cpu")
    assert pixel_budget(cpu, asked=7, world_size=1) == Budget(host=7, device=0)
    free = pixel_budget(cpu, asked=None, world_size=1)
    assert free.host > 0
    assert free.device == 0


def test_without_dali_a_gpu_has_kornia(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    choice = choose(index, on_gpu=0)
    assert choice.name == "kornia"
    assert "pip install 'moco-cxr[dali]'" in choice.reason
    with pytest.raises(
        InputError, match=r"engine dali: needs nvidia.dali, which is not installed; pip install '.*dali"
    ):
        choose(index, "dali")
