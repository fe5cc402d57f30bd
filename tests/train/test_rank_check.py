from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import train.rank_check
from shards.base.errors import InputError
from train.rank_check import compare_ranks, state_hashes
from train.world import World

TWO = World(rank=0, size=2, local_rank=0, device=torch.device("cpu"))


def make() -> Any:
    torch.manual_seed(0)
    model, key = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = {"key": key.state_dict(), "negatives": {"keys": torch.randn(4, 2), "position": 2}}
    buffers = {f"model.{name}": buffer for name, buffer in model.named_buffers()}
    buffers |= {f"key.{name}": buffer for name, buffer in key.named_buffers()}
    return SimpleNamespace(model=model, state_dict=lambda: state, rank_buffers=lambda: buffers)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("weights", "weights/0.weight"),
        ("key", "key/0.bias"),
        ("negatives", "negatives/keys"),
        ("negatives", "position"),
    ],
)
def test_says_what_differs_and_where(monkeypatch: pytest.MonkeyPatch, part: str, name: str) -> None:
    one, other = make(), make()
    with torch.no_grad():
        match name:
            case "weights/0.weight":
                other.model[0].weight[1, 2] += 1e-6
            case "position":
                other.state_dict()["negatives"]["position"] = 3
            case _:
                other.state_dict()[part][name.partition("/")[2].replace("0.bias", "0.bias")][1] += 1e-6
    monkeypatch.setattr(train.rank_check, "gather", lambda mine: [mine, state_hashes(other)])
    with pytest.raises(InputError, match=rf"at step 7, {part} of rank\(s\) 1 differ from rank 0's: .*{name} \(1 tens"):
        compare_ranks(one, TWO, step=7)


def test_running_statistics_are_each_rank_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make(), make()
    for buffer in other.rank_buffers().values():
        buffer.add_(1)
    monkeypatch.setattr(train.rank_check, "gather", lambda mine: [mine, state_hashes(other)])
    compare_ranks(one, TWO, step=7)
