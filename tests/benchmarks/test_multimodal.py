"""The benchmark of multimodal training measures its variants and learns on batches as training does."""

from benchmarks import multimodal
from benchmarks.settings import MultimodalBenchConfig


def test_every_width_has_its_comparison() -> None:
    config = MultimodalBenchConfig(pairs=64, tokens=8, layers=1, width=(16, 32), batch=8, steps=2, turns=2)
    comparisons = list(multimodal.run(config))
    assert [each.title.split(", ")[2] for each in comparisons] == ["width 16", "width 32"]
    for each in comparisons:
        assert list(each.timings) == ["8 text tokens, fp32", "8 text tokens, bf16", "6-8 text tokens, fp32"]
        assert each.rate == 16
        assert all(timing.median > 0 for timing in each.timings.values())
