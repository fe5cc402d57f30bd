import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import train.run.guards
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.methods.contract import Method
from train.methods.queue.key_queue import KeyQueue
from train.ranks.world import World
from train.run.guards import LossWatch, compare_ranks, state_hashes
from train.trainer import Progress

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


class TinyMethod(Method):
    """A model, a momentum copy and a queue; without settings, which state does not need."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        torch.manual_seed(0)
        networks: Any = [nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(2)]
        self.model, self.target = networks
        self.negatives = KeyQueue(4, 2, seed=0)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("model", "model.0.weight"),
        ("target", "target.0.bias"),
        ("negatives", "negatives.keys"),
        ("negatives", "negatives._extra_state"),
    ],
)
def test_says_what_differs_and_where(monkeypatch: pytest.MonkeyPatch, part: str, name: str) -> None:
    one, other = TinyMethod(), TinyMethod()
    with torch.no_grad():
        if name == "negatives._extra_state":
            other.negatives.position = 3
        else:
            other.state_dict()[name][1] += 1e-6
    monkeypatch.setattr(train.run.guards, "gather", lambda mine: [mine, state_hashes(other)])
    with pytest.raises(InputError, match=rf"at step 7, {part} of rank\(s\) 1 differ from rank 0's: .*{name} \(1 tens"):
        compare_ranks(one, TWO, step=7)


def test_running_statistics_are_each_rank_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = TinyMethod(), TinyMethod()
    for buffer in other.rank_state().values():
        buffer.add_(1)
    monkeypatch.setattr(train.run.guards, "gather", lambda mine: [mine, state_hashes(other)])
    compare_ranks(one, TWO, step=7)
