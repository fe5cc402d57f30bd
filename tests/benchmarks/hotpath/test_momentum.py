import pytest
import torch

from benchmarks.hotpath import momentum as hotpath_momentum
from benchmarks.hotpath.momentum import COPY, LOOP, TRAINER, measure_momentum


def _measured(turns: int = 2, **more: bool):
    return measure_momentum("resnet18", turns=turns, device=torch.device("cpu"), compiles=more.get("compiles", False))


def test_the_trainers_update_is_compared_with_loops_and_a_copy():
    comparison = _measured()
    names = list(comparison.timings)
    assert names[0] == LOOP
    assert names[-1] == COPY
    assert {"in-place loop", "_foreach_mul_, _foreach_add_", TRAINER, "one flat buffer, lerp_"} < set(names)
    assert comparison.rate == pytest.approx(11.17, rel=0.01), "million parameters"
    assert "of the copy's" in comparison.remarks[0]
    assert comparison.remarks[-1] == "CUDA graph: not run here, no GPU"


@pytest.mark.parametrize("part", ["_in_place_loop", "_multiply_add", "out_of_place_loop"])
def test_a_wrong_variant_is_not_timed(monkeypatch, part):
    monkeypatch.setattr(hotpath_momentum, part, lambda keys, query: None)
    with pytest.raises(AssertionError, match="not close"):
        _measured()


def test_a_wrong_update_of_the_trainer_is_not_timed(monkeypatch):
    monkeypatch.setattr(hotpath_momentum.MomentumUpdate, "__call__", lambda self, momentum: None)
    with pytest.raises(AssertionError, match=r"_foreach_lerp_ \(trainer\): .*not close"):
        _measured()


@pytest.mark.slow
def test_the_compiled_update_is_checked_and_timed():
    assert "_foreach_lerp_, compiled" in _measured(compiles=True).timings


@pytest.mark.gpu
def test_the_captured_update_is_checked_and_timed():
    comparison = measure_momentum("resnet18", turns=2, device=torch.device("cuda"), compiles=False)
    assert "_foreach_lerp_, CUDA graph" in comparison.timings
