import json

import pytest
import torch

from benchmarks import hotpath
from benchmarks.hotpath import HotpathConfig
from benchmarks.result import write_result

QUICK = HotpathConfig(encoder=("resnet18",), queue=(256,), batch=(16,), turns=2)


def test_every_part_of_the_hot_path_is_measured_and_written(tmp_path):
    comparisons = hotpath.run(QUICK)
    assert [c.title.split(",")[0] for c in comparisons] == ["momentum update", "InfoNCE", "enqueue"]
    write_result(tmp_path / "result.json", "hotpath", torch.device("cpu"), comparisons)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["machine"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    for comparison in result["comparisons"]:
        trainer = [timing for name, timing in comparison["timings"].items() if "(trainer)" in name]
        assert len(trainer) == 1
        assert trainer[0]["median"] > 0
        assert next(iter(comparison["timings"].values()))["ratio"] == 1.0
    assert "multi-tensor (trainer)" in comparisons[0].table()


def test_a_wrong_variant_is_not_timed(monkeypatch):
    monkeypatch.setattr(hotpath.MomentumUpdate, "__call__", lambda self, momentum: None)
    with pytest.raises(AssertionError, match="not close"):
        hotpath.run(QUICK)
