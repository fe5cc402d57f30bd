import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.views import ViewSpec
from shards.base.dataclass_io import from_yaml
from shards.base.errors import InputError
from train.encoders.build import build_encoder
from train.encoders.saved import save_encoder
from train.run import folder
from train.run.folder import check_run_folder, seen_by_start, write_run_folder
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


def test_the_same_command_continues(config: PretrainConfig) -> None:
    check_run_folder(config)
    check_run_folder(replace(config, run=replace(config.run, log=("jsonl",))))
    check_run_folder(replace(config, data=("moved",), run=replace(config.run, log_every=99)))
    assert config.output is not None
    check_run_folder(replace(config, output=config.output / "new"))


def test_another_command_is_refused(config: PretrainConfig) -> None:
    other = replace(config, optimizer=replace(config.optimizer, lr=1.0), run=replace(config.run, seed=9))
    with pytest.raises(InputError, match=r"other settings \(optimizer.lr, run.seed\)"):
        check_run_folder(other)


def test_what_is_no_run_folder_is_refused(config: PretrainConfig, tmp_path: Path) -> None:
    assert config.output is not None
    (config.output / "config.yaml").write_text("run: {epoch: 3}")
    with pytest.raises(InputError, match="not of this version"):
        check_run_folder(config)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        check_run_folder(replace(config, output=tmp_path / "file"))


def test_what_an_encoder_of_the_hub_has_seen_is_known_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.safetensors"
    save_encoder(file, build_encoder("resnet18"), name="resnet18", views=ViewSpec(), trained_on={"a": ["train"]})
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(folder, "download", lambda source: {"hub:ward/cxr": tmp_path}[source])
    assert seen_by_start("hub:ward/cxr").trained_on == {"a": ["train"]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("dataset.json", "index.parquet"), "is a packed dataset, so it is no run; choose a new or empty folder"),
        (("IM0001", "IM0002.dcm"), "holds IM0001, IM0002.dcm and no config.yaml"),
        (("metrics.jsonl", "checkpoints"), "holds checkpoints, metrics.jsonl and no config.yaml"),
        (("slurm-12.out", "train.log", "run.lock"), ""),
    ],
)
def test_a_folder_of_other_things_is_refused(
    config: PretrainConfig, tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in names:
        (other / name).touch()
    with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
        check_run_folder(replace(config, output=other))
