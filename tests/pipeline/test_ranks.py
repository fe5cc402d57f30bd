import os
from typing import Any

import pytest

import pipeline.ranks
from pipeline.ranks import machine, num_own_cores

HERE, ELSEWHERE = machine(), ("elsewhere", 1)


def among(monkeypatch: pytest.MonkeyPatch, cores: set[int], others: list[tuple[tuple[str, int], set[int]]]) -> int:
    """Cores of a rank that may run on these, among the other ranks."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    monkeypatch.setattr(pipeline.ranks, "have_met", lambda _: True)

    def gather(mine: Any) -> list[Any]:
        return [mine, *others]

    monkeypatch.setattr(pipeline.ranks, "gather", gather)
    return num_own_cores(1 + len(others))


def test_cores_are_shared_with_whom_they_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    eight, low, high = set(range(8)), set(range(4)), set(range(4, 8))
    assert among(monkeypatch, eight, [(HERE, eight)]) == 4  # deepspeed, torchrun
    assert among(monkeypatch, low, [(HERE, high)]) == 4  # srun binds
    assert among(monkeypatch, eight, [(ELSEWHERE, eight), (ELSEWHERE, eight)]) == 8
    assert among(monkeypatch, {0}, [(HERE, {0}), (HERE, {0})]) == 1


def test_ranks_that_have_not_met_share_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name in ("LOCAL_WORLD_SIZE", "LOCAL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert num_own_cores(1) == 8
    assert num_own_cores(2) == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert num_own_cores(8) == 2
