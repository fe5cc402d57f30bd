from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from train.monitor import alignment, effective_rank, read_metrics, uniformity


def test_alignment_is_zero_for_equal_and_four_for_opposite_pairs() -> None:
    query = F.normalize(torch.randn(8, 16), dim=1)
    assert alignment(query, query).item() == 0
    assert alignment(query, -query).item() == pytest.approx(4)


def test_uniformity_is_zero_at_collapse_and_lower_when_spread() -> None:
    query = F.normalize(torch.randn(64, 16), dim=1)
    assert uniformity(query[:1].repeat(8, 1)).item() == pytest.approx(0, abs=1e-5)
    pairs = [(a - b).square().sum() for i, a in enumerate(query) for b in query[:i]]
    expected = torch.stack(pairs).mul(-2).exp().mean().log()
    torch.testing.assert_close(uniformity(query), expected)


def test_effective_rank_counts_directions() -> None:
    directions = torch.linalg.qr(torch.randn(32, 32)).Q[:5]
    rank_5 = torch.cat([directions, -directions]).repeat(20, 1) + 3.0  # a common offset does not count
    assert effective_rank(rank_5).item() == pytest.approx(5, rel=1e-3)
    assert effective_rank(torch.randn(1, 32).repeat(50, 1)).item() == pytest.approx(1, abs=0.01)


def test_a_line_cut_off_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]
    assert read_metrics(tmp_path / "none.jsonl") == []
