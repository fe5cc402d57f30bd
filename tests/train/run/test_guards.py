import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import train.run.guards
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.ranks.world import World
from train.run.checkpoint import Progress
from train.run.guards import LossWatch, compare_ranks, state_hashes

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


def observe(watch: LossWatch, losses: list[float], start: int = 0) -> None:
    for number, loss in enumerate(losses, start):
        rows = torch.arange(8) + number
        watch.observe(torch.tensor(loss, requires_grad=True), Progress(step=number, batch=number), rows)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_names_the_first_step_its_images_and_the_way_back(tiny_dataset: Path, tmp_path: Path, bad: float) -> None:
    index = ShardIndex.open(str(tiny_dataset))
    watch = LossWatch(index, tmp_path, WORLD)
    observe(watch, [1.0, 2.0])
    watch.check(None)
    observe(watch, [1.0, bad, 1.0, float("nan")], start=2)
    keys = index.column("key")
    with pytest.raises(InputError) as raised:
        watch.check(tmp_path / "checkpoints" / "step-00000002")
    text = str(raised.value)
    assert "loss: not finite at step 4 on rank 0" in text
    assert f"3 ({keys[3]}), 4 ({keys[4]})" in text
    assert "step-00000002" in text
    written = json.loads((tmp_path / "nonfinite.json").read_text())
    assert written == {"step": 4, "rank": 0, "rows": list(range(3, 11)), "keys": keys[3:11].tolist()}


def test_observing_reads_nothing_back(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = LossWatch(ShardIndex.open(str(tiny_dataset)), tmp_path, WORLD)

    def refuse(*_: object) -> None:
        raise AssertionError("a value was read back from the device")

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    observe(watch, [1.0, float("nan")])


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
    monkeypatch.setattr(train.run.guards, "gather", lambda mine: [mine, state_hashes(other)])
    with pytest.raises(InputError, match=rf"at step 7, {part} of rank\(s\) 1 differ from rank 0's: .*{name} \(1 tens"):
        compare_ranks(one, TWO, step=7)


def test_running_statistics_are_each_rank_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make(), make()
    for buffer in other.rank_buffers().values():
        buffer.add_(1)
    monkeypatch.setattr(train.run.guards, "gather", lambda mine: [mine, state_hashes(other)])
    compare_ranks(one, TWO, step=7)
