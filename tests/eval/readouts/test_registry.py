"""Entries name what there is, and an entry is all that a new readout needs."""

import dataclasses
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from eval.grid.config import GridConfig, Settings, grid_of_run
from eval.readouts.frozen import frozen_readout
from eval.readouts.registry import READOUTS, Readout
from shards.base.errors import InputError

SETTINGS = Settings(data=(Path("data"),), label=("Finding",))


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
def test_an_entry_names_a_fit_its_keywords_and_a_section(readout: Readout) -> None:
    assert readout.section in (None, *(field.name for field in dataclasses.fields(GridConfig)))
    assert readout.is_frozen or readout.section
    if readout.is_frozen:
        fit = importlib.import_module(f"eval.readouts.{readout.module}").fit
        assert set(readout.reads) <= set(inspect.signature(fit).parameters)


def test_phrases_and_amounts() -> None:
    assert [READOUTS[name].the_phrase for name in ("linear", "finetune")] == ["the linear probe", "fine-tuning"]
    assert [READOUTS[name].amount(5) for name in ("few-shot", "linear")] == ["5 a class", "500 %"]


def test_a_new_readout_is_one_module_and_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("eval.readouts.mean")
    module.fit = lambda *given, seed: (given[3].mean(axis=1), given[5].mean(axis=1) + seed, {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "eval.readouts.mean", module)
    with pytest.raises(InputError, match="readout 'mean': give linear or "):
        grid_of_run((Path("run"),), ("random",), "mean", SETTINGS)
    entry = Readout(heading="Mean", phrase="a mean", module="mean", reads=("seed",))
    monkeypatch.setitem(READOUTS, "mean", entry)
    assert grid_of_run((Path("run"),), ("random",), "mean", SETTINGS).settings_of("mean") is None
    none = np.zeros((0, 2))
    _, scores, _ = frozen_readout("mean", seed=3, temperature=1.0)(none, none, none, none, none, np.ones((4, 2)))
    assert scores.tolist() == [4.0] * 4
