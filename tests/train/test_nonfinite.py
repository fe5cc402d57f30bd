import json
from pathlib import Path

import pytest
import torch

from shards.base.errors import InputError
from shards.index import ShardIndex
from train.checkpoint import Progress
from train.nonfinite import LossWatch
from train.world import World

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
