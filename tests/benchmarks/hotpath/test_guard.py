import pytest

from benchmarks.hotpath import guard
from benchmarks.measuring.result import Comparison, Timing


def _comparison(title, reference, seconds, memory=None):
    timings = {
        name: Timing(median=value, low_quartile=value, high_quartile=value, speed=1 / value, turns=1)
        for name, value in ((reference, 1.0), ("ours (trainer)", seconds))
    }
    held = None if memory is None else {reference: 1000, "ours (trainer)": memory}
    return Comparison(title=title, work="a call", rate=1.0, unit="calls", timings=timings, memory=held)


def _measured(momentum, loss, memory=40):
    return [
        _comparison("momentum update, resnet18", "out-of-place loop", momentum),
        _comparison("InfoNCE, queue 65,536, batch 256", "clone, concatenate", loss, memory),
    ]


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (
            _measured(1.0, 0.4),
            "resnet18: ours (trainer) is 1.00 times as fast as out-of-place loop, under 1.25",
        ),
        (
            _measured(0.3, 1.1),
            "batch 256: ours (trainer) is 0.91 times as fast as clone, concatenate",
        ),
        (_measured(0.3, 0.4, 900), "ours (trainer) takes 0.90 of the memory, above 0.3"),
    ],
)
def test_a_lost_gain_fails(monkeypatch, capsys, measured, said):
    monkeypatch.setattr(guard.hotpath, "run", lambda config: measured)
    assert guard.guard() == 1
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert said in " ".join(printed.split())
    assert printed.count("guard: ") == 1


def test_gains_that_are_there_pass(monkeypatch):
    monkeypatch.setattr(guard.hotpath, "run", lambda config: _measured(0.3, 0.6))
    assert guard.guard() == 0


def test_what_is_no_longer_measured_is_noticed():
    with pytest.raises(AssertionError, match="InfoNCE: not measured"):
        list(guard.find_misses(_measured(0.3, 0.4)[:1]))
    with pytest.raises(AssertionError, match="is against in-place loop"):
        list(guard.find_misses([_comparison("momentum update, resnet18", "in-place loop", 0.3)]))
