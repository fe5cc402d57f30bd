import pytest

from benchmarks import guard
from benchmarks.measure import Timing
from benchmarks.result import Comparison


def _comparison(title, reference, ratio):
    timings = {
        name: Timing(median=value, low_quartile=value, high_quartile=value, ratio=value, turns=1)
        for name, value in ((reference, 1.0), ("ours (trainer)", ratio))
    }
    return Comparison(title=title, work="a call", rate=1.0, unit="calls", timings=timings)


def _measured(momentum, loss):
    return [
        _comparison("momentum update, resnet18", "out-of-place loop", momentum),
        _comparison("InfoNCE, queue 65,536, batch 256", "clone, concatenate", loss),
    ]


def test_a_lost_gain_fails_after_three_runs(monkeypatch, capsys):
    runs = []
    monkeypatch.setattr(guard.hotpath, "run", lambda config: runs.append(config) or _measured(1.0, 0.4))
    assert guard.guard() == 1
    assert len(runs) == 3
    assert all(config.quick for config in runs)
    printed = capsys.readouterr().out
    assert "momentum update, resnet18: ours (trainer) takes 1.00 of out-of-place loop, above" in printed
    assert "InfoNCE" not in printed


def test_one_noisy_run_does_not_fail(monkeypatch):
    found = iter([_measured(0.3, 1.2), _measured(0.3, 0.4)])
    monkeypatch.setattr(guard.hotpath, "run", lambda config: next(found))
    assert guard.guard() == 0


def test_what_is_no_longer_measured_is_noticed():
    with pytest.raises(AssertionError, match="InfoNCE: not measured"):
        list(guard.find_misses(_measured(0.3, 0.4)[:1]))
    with pytest.raises(AssertionError, match="is against in-place loop"):
        list(guard.find_misses([_comparison("momentum update, resnet18", "in-place loop", 0.3)]))
