import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from shards.base.dataclass_io import to_yaml
from shards.base.errors import InputError
from train.settings.config import PretrainConfig
from train.settings.recipes import recipe
from train.settings.run_folder import check_run_folder, epochs_in


@pytest.fixture
def config(tmp_path: Path) -> PretrainConfig:
    """Of a run that has begun."""
    made = replace(recipe("debug"), data=("data",), output=tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(to_yaml(made))
    return made


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


def test_a_run_can_be_made_longer_and_not_shorter(config: PretrainConfig) -> None:
    check_run_folder(replace(config, run=replace(config.run, epochs=3)))
    longer = replace(config, run=replace(config.run, epochs=3, seed=9))
    with pytest.raises(InputError, match=r"other settings \(run.seed\)"):
        check_run_folder(longer)
    assert config.output is not None
    (config.output / "config.yaml").write_text(to_yaml(replace(config, run=replace(config.run, epochs=3))))
    assert epochs_in(config.output) == 3
    with pytest.raises(
        InputError, match="its config.yaml has run.epochs 3, and 1 are fewer; a run can be made longer only"
    ):
        check_run_folder(config)
    assert epochs_in(config.output / "none") is None


def test_what_is_no_run_folder_is_refused(config: PretrainConfig, tmp_path: Path) -> None:
    assert config.output is not None
    (config.output / "config.yaml").write_text("run: {epoch: 3}")
    with pytest.raises(InputError, match="not of this version"):
        check_run_folder(config)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        check_run_folder(replace(config, output=tmp_path / "file"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("dataset.json", "index.parquet"), "is a packed dataset; give a folder outside it"),
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
