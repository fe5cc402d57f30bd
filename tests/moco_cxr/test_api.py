"""What notebooks call does what the commands do."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import moco_cxr
from shards.base.errors import InputError
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
    with pytest.raises(AttributeError, match="has no attribute 'trian'; it has build, build_loader"):
        moco_cxr.trian  # noqa: B018
