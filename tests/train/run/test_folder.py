from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.views import ViewSpec
from shards.base.dataclass_io import from_yaml
from train.encoders.build import build_encoder
from train.encoders.saved import save_encoder
from train.run import folder
from train.run.folder import seen_by_start, write_run_folder
from train.settings.config import PretrainConfig
from train.settings.recipes import recipe


@pytest.fixture
def config(tmp_path: Path) -> PretrainConfig:
    made = replace(recipe("debug"), data=("data",), output=tmp_path / "run")
    write_run_folder(made, {"zero_optimization": {"stage": 0}}, note="learning rate 1")
    return made


def test_writes_what_it_ran_with(config: PretrainConfig) -> None:
    assert config.output is not None
    written = (config.output / "config.yaml").read_text()
    assert written.startswith("# learning rate 1\n")
    assert from_yaml(PretrainConfig, written) == config
    assert "zero_optimization" in (config.output / "ds_config.json").read_text()


def test_what_an_encoder_of_the_hub_has_seen_is_known_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.safetensors"
    save_encoder(file, build_encoder("resnet18"), name="resnet18", views=ViewSpec(), trained_on={"a": ["train"]})
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(folder, "download", lambda source: {"hub:ward/cxr": tmp_path}[source])
    assert seen_by_start("hub:ward/cxr").trained_on == {"a": ["train"]}
