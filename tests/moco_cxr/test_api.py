"""What notebooks call does what the commands do."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import moco_cxr
from eval.grid.config import GridConfig
from shards.base.errors import InputError
from train.encoders.build import build_encoder
from train.encoders.saved import save_encoder
from train.run.metrics_file import read_metrics
from train.settings.config import PretrainConfig
from train.settings.recipes import debug

SMALL = {"run": {"epochs": 1, "batch_size": 16}, "views": {"size": 32}, "method": {"queue_size": 32}}


@pytest.mark.slow
def test_from_packed_images_to_a_table(tiny_dataset: Path, tmp_path: Path) -> None:
    index = moco_cxr.open_index(tiny_dataset).where(split="train")
    loader = moco_cxr.build_loader(index, moco_cxr.views("moco_cxr", size=32), batch_size=8)
    assert next(iter(loader)).views[0].shape == (8, 1, 32, 32)
    loader.close()
    run = moco_cxr.pretrain("debug", data=tiny_dataset, output=tmp_path / "run", **SMALL)
    assert run == tmp_path / "run"
    assert read_metrics(run / "metrics.jsonl")
    loaded = moco_cxr.load_encoder(run)
    assert loaded.views.size == 32
    comparison = moco_cxr.evaluate(
        run, data=tiny_dataset, label="blob", fraction=[1.0], settings={"replicates": 200, "random_starts": 1}
    )
    assert {row.start for row in comparison.rows} == {"random", "pretrained"}
    assert (run / "eval" / "linear-tiny-blob" / "results.json").is_file()
    again = moco_cxr.pretrain("debug", data=tiny_dataset, output=tmp_path / "again", **SMALL)  # with another group
    first, second = (load_file(each / "encoder.safetensors") for each in (run, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_error_leaves_nothing_behind_in_the_process(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither handlers of signals nor a process group: the next cell of a notebook may try again."""

    def fails(*_: object, **__: object) -> None:
        raise InputError("optimizer: does not start")

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr("train.run.loop.start_trainer", fails)
    for _ in range(2):
        with pytest.raises(InputError, match="does not start"):
            moco_cxr.pretrain("debug", data=tiny_dataset, output=tmp_path / "run", **SMALL)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"run": {"epoch": 1}}, "run.epoch: no such field; did you mean run.epochs"),
        ({"runs": {"epochs": 1}}, "runs: no such field; did you mean run"),
        ({"run": {"epochs": "many"}}, "run.epochs"),
        ({"run": {"epochs": -1}}, "run.epochs"),
    ],
)
def test_settings_that_are_wrong(tiny_dataset: Path, tmp_path: Path, settings: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        moco_cxr.pretrain("debug", data=tiny_dataset, output=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


RUN, DATA = "runs/first", "data/chexpert"
EVALUATE = {"data": DATA, "label": "blob"}


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: moco_cxr.views(None), "preset None: give text"),
        (lambda: moco_cxr.open_index(None), "folder None: give text or a path"),
        (lambda: moco_cxr.build("folder", input=None, output="b"), "input None: give a path"),
        (lambda: moco_cxr.pretrain(None, data=DATA, output="b"), "recipe None: give a name, such as 'small_resnet18'"),
        (lambda: moco_cxr.pretrain("debug", data=DATA, output=None), "output None: give a path"),
        (lambda: moco_cxr.pretrain("debug", data=None, output="b", fit=1), "data None: .*\nfit 1: give True or False"),
        (lambda: moco_cxr.evaluate(RUN, data=DATA, label=None), "label None: give a name, or a list of names"),
        (lambda: moco_cxr.evaluate(RUN, fraction=5, **EVALUATE), "fraction 5: out of range; give a number above 0 and"),
        (lambda: moco_cxr.evaluate(RUN, fraction="a", **EVALUATE), "fraction 'a': give a number or a list of numbers"),
        (lambda: moco_cxr.evaluate(None, **EVALUATE), "run None: give a path, or a list of paths"),
        (lambda: moco_cxr.predict(None, "scans"), "model None: give a path"),
        (lambda: moco_cxr.embed(RUN, 3), "input 3: give a path, or a list of paths"),
        (lambda: moco_cxr.load_encoder(RUN, "keyy"), "which 'keyy': give query or key"),
        (lambda: moco_cxr.load_encoder(None), "path None: give text or a path"),
        (lambda: moco_cxr.from_hub(None), "name None: give text"),
    ],
)
def test_arguments_of_the_wrong_kind(ask: Callable[[], object], said: str) -> None:
    with pytest.raises(moco_cxr.InputError, match=f"^{said}"):
        ask()


def test_a_selection_is_no_data_of_a_run(tiny_dataset: Path, tmp_path: Path) -> None:
    index = moco_cxr.open_index(tiny_dataset)
    with pytest.raises(
        InputError, match="data <ShardIndex: .*>: give the folder.*; selections are settings: selection="
    ):
        moco_cxr.pretrain("debug", data=index, output=tmp_path / "run")


@pytest.mark.parametrize("fraction", [0.1, np.float32(0.1), (0.1,), np.array([0.1])])
def test_one_fraction_needs_no_list(fraction: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GridConfig] = []
    monkeypatch.setattr("moco_cxr.api.run_grid", asked.append)
    moco_cxr.evaluate(tmp_path, fraction=fraction, **EVALUATE)
    assert asked[0].fraction == (pytest.approx(0.1),)


def test_an_encoder_is_shown_in_one_line(tmp_path: Path) -> None:
    encoder = build_encoder("resnet18", norm="batch", size=32)
    save_encoder(tmp_path / "encoder.safetensors", encoder, name="resnet18", views=moco_cxr.views("moco_cxr", size=32))
    shown = repr(moco_cxr.load_encoder(tmp_path / "encoder.safetensors"))
    assert shown == "<LoadedEncoder: resnet18, 512 features, views of 32 px>"


def test_a_recipe_may_be_a_file_a_function_or_settings(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PretrainConfig] = []
    monkeypatch.setattr("train.run.loop.pretrain", asked.append)
    (tmp_path / "my.yaml").write_text("recipe: debug\nrun: {epochs: 7}\n")
    config = replace(debug(), run=replace(debug().run, epochs=7))
    for recipe in (tmp_path / "my.yaml", lambda: config, config):
        assert moco_cxr.pretrain(recipe, data=tiny_dataset, output="b", run={"seed": 3}) == Path("b")
    assert {(each.run.epochs, each.run.seed, each.views.size) for each in asked} == {(7, 3, 32)}
    with pytest.raises(InputError, match="recipe: returns int, no train.settings.config.PretrainConfig"):
        moco_cxr.pretrain(lambda: 3, data="a", output="b")


def test_names_that_are_wrong(tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="views moco: no such preset; did you mean moco_"):
        moco_cxr.views("moco")
    with pytest.raises(InputError, match="neighbors: is no readout's setting"):
        moco_cxr.evaluate(tmp_path, data=tiny_dataset, label="blob", neighbors=3)
    with pytest.raises(InputError, match="--draw: no such field; did you mean --draws"):
        moco_cxr.evaluate(tmp_path, data=tiny_dataset, label="blob", settings={"draw": 3})
    with pytest.raises(AttributeError, match="has no attribute 'trian'; it has InputError, build, build_loader"):
        moco_cxr.trian  # noqa: B018
