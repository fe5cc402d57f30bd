import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from shards.base.errors import InputError
from train.settings.loggers import check_loggers


def test_a_package_that_is_not_installed_is_refused_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_loggers(["jsonl", "tensorboard"])
    real = importlib.util.find_spec
    absent = {"wandb", "mlflow", "tensorboard"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else real(name))
    check_loggers(["jsonl"])
    for name, package in (("wandb", r"moco-cxr\[wandb\]"), ("mlflow", r"moco-cxr\[mlflow\]")):
        with pytest.raises(InputError, match=f"run.log {name}: the package .* not installed; pip install '{package}'"):
            check_loggers(["jsonl", name])
    with pytest.raises(InputError, match=r"pip install 'moco-cxr\[train\]'"):
        check_loggers(["tensorboard"])


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()  # as wandb leaves it
    namespace = importlib.machinery.PathFinder.find_spec("wandb", [str(tmp_path)])
    assert namespace is not None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: namespace)
    with pytest.raises(InputError, match="run.log wandb"):
        check_loggers(["wandb"])


def test_a_module_that_is_loaded_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    check_loggers(["wandb"])
