"""The loggers of a run by name, each in what its own software reads; those that are not installed here as stand-ins."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train.run.loggers import opening
from train.run.loggers.contract import End, Run
from train.run.loggers.opening import open_loggers

FIRST = {"step": 20, "epoch": 0.5, "loss": 2.5, "pretext_accuracy(%)": None, "warnings": {"collapse": "it collapses"}}
SECOND = {"step": 40, "epoch": 1.0, "loss": 1.5, "pretext_accuracy(%)": 30.0}
SETTINGS = {"run": {"seed": 3, "log": ["wandb"]}, "recipe": "debug"}


def log(folder: Path, *names: str, lines: Any = (FIRST, SECOND), end: End = "finished", step: int = 0) -> list[str]:
    """Writes lines by loggers; returns what is told."""
    folder.mkdir(exist_ok=True)
    told: list[str] = []
    loggers = open_loggers(names, Run(folder=folder, settings=SETTINGS, step=step), told.append)
    for logger in loggers:
        for line in lines:
            logger.write(line)
        logger.end(end)
        logger.wait()
    return told


def test_tensorboard_has_curves_and_warnings_and_hides_what_is_trained_again(tmp_path: Path) -> None:
    assert log(tmp_path, "jsonl", "tensorboard", "tensorboard") == []
    assert log(tmp_path, "tensorboard", lines=[SECOND | {"loss": 1.25}], step=20) == []
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [(20, 2.5), (40, 1.25)]
    assert [event.value for event in board.Scalars("pretext_accuracy(%)")] == [30.0]
    assert board.Tensors("collapse/text_summary")[0].step == 20
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]


def test_a_logger_that_cannot_write_is_told_and_the_other_goes_on(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    (told,) = log(tmp_path, "tensorboard")
    assert told.startswith(f"warning: run.log tensorboard: {tmp_path}/tensorboard: File exists; the run goes on")


class Wandb(ModuleType):
    """Stands in for wandb 0.31 where it is not installed: the calls that are made, and what they are made with."""

    def __init__(self, starting_step: int = 0) -> None:
        super().__init__("wandb")
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.starting_step = starting_step

    def Settings(self, **settings: Any) -> dict[str, Any]:
        return settings

    def init(self, **given: Any) -> "Wandb":
        self.calls.append(("init", given))
        return self

    def log(self, values: dict[str, float], *, step: int) -> None:
        self.calls.append(("log", {"step": step, **values}))

    def alert(self, **given: Any) -> None:
        self.calls.append(("alert", given))

    def finish(self, *, exit_code: int) -> None:
        self.calls.append(("finish", {"exit_code": exit_code}))


def wandb(monkeypatch: pytest.MonkeyPatch, starting_step: int = 0) -> Wandb:
    stand_in = Wandb(starting_step)
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    monkeypatch.delitem(sys.modules, "train.run.loggers.wandb_run", raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return stand_in


def test_wandb_is_called_as_it_wants_and_continues_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = wandb(monkeypatch)
    assert log(tmp_path / "first", "wandb", end="stopped") == []
    (_, init), *rest = first.calls
    assert (init["resume"], init["project"], init["name"]) == ("allow", "moco-cxr", "first")
    assert init["config"] == SETTINGS
    assert init["settings"]["silent"]
    assert rest == [
        ("log", {"step": 20, "epoch": 0.5, "loss": 2.5}),
        ("alert", {"title": "collapse", "text": "it collapses", "level": "WARN"}),
        ("log", {"step": 40, "epoch": 1.0, "loss": 1.5, "pretext_accuracy_percent": 30.0}),
        ("finish", {"exit_code": 0}),
    ]
    again = wandb(monkeypatch, starting_step=21)
    monkeypatch.setenv("WANDB_PROJECT", "lungs")
    assert log(tmp_path / "first", "wandb", end="failed") == []
    (_, resumed), *rest = again.calls
    assert (resumed["id"], resumed["project"]) == (init["id"], "lungs")
    assert [name for name, _ in rest] == ["log", "finish"]  # step 20 is there already
    assert rest[-1][1] == {"exit_code": 1}


def test_wandb_itself_writes_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delitem(sys.modules, "train.run.loggers.wandb_run", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for end in ("stopped", "finished"):
        assert log(tmp_path / "first", "wandb", end=end) == []
    written = [path.name.rpartition("-")[2] for path in (tmp_path / "first" / "wandb").glob("offline-run-*")]
    assert len(written) >= 1
    assert set(written) == {opening_id(tmp_path / "first" / "wandb.json")}
    (file, *_) = (tmp_path / "first" / "wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert all(word in content for word in (b"pretext_accuracy_percent", b"it collapses", b"moco-cxr", b"debug"))


def opening_id(path: Path) -> str:
    from train.run.loggers.contract import kept_id

    return kept_id(path) or ""


def test_mlflow_itself_writes_one_run_to_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "first run"
    assert log(folder, "mlflow", lines=[FIRST], end="failed") == []
    assert log(folder, "mlflow", lines=[FIRST | {"loss": 9.0}, SECOND]) == []
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(folder / "mlflow").as_uri())
    (experiment,) = [each for each in client.search_experiments() if each.name == "moco-cxr"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first run")
    assert run.data.params == {"run.seed": "3", "run.log": "['wandb']", "recipe": "debug"}
    assert [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "loss")] == [
        (20, 2.5),
        (40, 1.5),
    ]
    assert run.data.metrics["pretext_accuracy_percent"] == 30.0
    assert run.data.tags["warning.collapse"] == "it collapses"
    client.delete_run(run.info.run_id)
    (folder / "mlflow.json").write_text('{"id": "0123456789abcdef0123456789abcdef"}')
    (told,) = log(folder, "mlflow")
    assert "mlflow.json to begin a new run there" in told


def test_every_logger_that_can_be_named_is_opened() -> None:
    from train.settings.loggers import PACKAGES

    assert opening._CLASSES.keys() == PACKAGES.keys()
