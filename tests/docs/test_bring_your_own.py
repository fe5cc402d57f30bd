"""The examples of docs/bring-your-own.md do what the page says, as they stand there."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

import moco_cxr
from pipeline.views import preset
from tests.conftest import ROOT
from tests.train.methods.conftest import Rows
from train.encoders.build import build_encoder
from train.encoders.zoo import check_encoder
from train.methods.build import build_method
from train.methods.contract import TrainingData
from train.ranks.world import World
from train.settings.config import MethodConfig, NormConfig
from train.settings.methods import METHODS, Entry
from train.settings.own_recipe import find_recipe
from train.settings.recipes import small_resnet18

PAGE = (ROOT / "docs" / "bring-your-own.md").read_text()


def examples(section: str) -> list[str]:
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def module(name: str, content: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example as a module of that name."""
    made = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, made)
    exec(content, made.__dict__)
    return made


@pytest.fixture
def own_net(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The encoder, of which timm knows no more afterwards."""
    from timm.models import _registry

    tables = [
        table for name, table in vars(_registry).items() if isinstance(table, dict | set) and not name.startswith("__")
    ]
    before = [table.copy() for table in tables]
    module("own_encoder", examples("Encoder")[0], monkeypatch)
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)


def test_the_encoder_is_one_of_timms(own_net: None) -> None:
    check_encoder("timm:own_net", 64)
    encoder = build_encoder("timm:own_net", seed=3)
    assert encoder(torch.zeros(2, 1, 64, 64)).shape == (2, encoder.num_features)


@pytest.mark.slow
def test_it_is_trained_and_measured(own_net: None, tiny_dataset: Path, tmp_path: Path) -> None:
    script = examples("Encoder")[1]
    for theirs, ours in (
        ('"data/chexpert"', repr(str(tiny_dataset))),
        ('"runs/own"', repr(str(tmp_path / "own"))),
        ('"Pleural Effusion"', '"blob"'),
        ('own = {"encoder"', 'own = {"run": {"batch_size": 16}, "method": {"queue_size": 32}, "encoder"'),
    ):
        assert theirs in script
        script = script.replace(theirs, ours)
    found: dict[str, object] = {}
    exec(script, found)
    assert "pretrained" in found["comparison"].starts
    assert moco_cxr.load_encoder(tmp_path / "own").encoder.num_features == 64


def test_the_method_lowers_its_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    content, entry = examples("Method")
    module("train.methods.distance", content, monkeypatch)
    methods: dict[str, Entry] = {}
    exec(entry, {"METHODS": methods, "Entry": Entry})
    monkeypatch.setitem(METHODS, "distance", methods["distance"])
    base = small_resnet18()
    config = replace(base, norm=NormConfig(strategy="plain"), method=MethodConfig(embedding=16, predictor_hidden=16))
    object.__setattr__(config.method, "name", "distance")  # names are settled when the settings are imported
    rows = torch.arange(8).numpy()
    world = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
    method = build_method(config, world, TrainingData(Rows(rows, lambda: rows)))
    views = tuple(torch.randn(2, 8, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.05)
    losses = []
    for batch in range(4):
        objective = method.objective(method.model, views, rows=torch.arange(8), batch=batch)
        optimizer.zero_grad()
        objective.loss.backward()
        optimizer.step()
        losses.append(float(objective.loss.detach()))
    assert losses[-1] < losses[0]


def test_the_views_are_those_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "own_views.py").write_text(examples("Views")[0])
    config, told = find_recipe(str(tmp_path / "own_views.py"))
    assert config.views.area == (0.33, 1.0)
    assert config.views.size == small_resnet18().views.size
    assert "a third of the image" in told


def test_code_on_batches_runs(tiny_dataset: Path) -> None:
    script = examples("Views")[1]
    for theirs, ours in (
        ('"data/chexpert"', repr(str(tiny_dataset))),
        ('"moco_cxr"', 'replace(preset("moco_cxr"), size=32)'),
    ):
        assert theirs in script
        script = script.replace(theirs, ours)
    found: dict[str, object] = {"replace": replace, "preset": preset}
    exec(script, found)
    assert found["noisy"].shape == found["second"].shape == (16, 1, 32, 32)
