"""The benchmark of waiting threads at a small size: each setting a process of its own, quiet and beside busy loops."""

import pytest

from benchmarks import waiting
from benchmarks.settings import WaitingConfig


@pytest.mark.slow
def test_the_quick_form(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "10000")  # as commands have it; OpenMP's own is measured without
    found = list(waiting.run(WaitingConfig(quick=True)))
    assert [one.title for one in found] == [
        f"Waiting threads, {work}, beside {beside}"
        for work in ("pretraining", "features", "fine-tuning")
        for beside in ("nothing else", "a busy loop on each core")
    ]
    assert all(len(one.timings) == 4 for one in found)


@pytest.mark.slow
def test_a_worker_that_fails_is_told(capfd):
    with (
        waiting._worker("dreaming", WaitingConfig(), {}) as turn,
        pytest.raises(RuntimeError, match="ended with 1"),
    ):
        turn()
    assert "KeyError: 'dreaming'" in capfd.readouterr().err
