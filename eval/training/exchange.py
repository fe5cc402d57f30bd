"""The files by which a command tells the processes that it starts what to do, and they tell it what came out."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.foreign.contract import open_foreign
from eval.training.task import Config, Trained, TrainingTask, Work
from shards.base.atomic import atomic_file
from shards.base.dataclass_io import from_mapping, to_mapping
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.encoders.file import FILES
from train.encoders.saved import LoadedEncoder, load_encoder, save_encoder
from train.encoders.seen import load_seen, save_seen

_TASK, _START, _RESULT = "task.npz", "start", "result.npz"
_ARRAYS = ("train_rows", "train_labels", "valid_rows", "valid_labels", "test_rows")


def write_work(folder: Path, work: Work[Config]) -> None:
    """Writes what :func:`read_work` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    task, start = work.task, work.start
    source = start.metadata.get("source", "") if start else ""
    if start is not None and not source:
        norm = start.metadata.get("norm", "batch")
        (folder / _START).mkdir(exist_ok=True)
        own, seen = folder / _START / FILES["query"], save_seen(folder / _START, start.seen)
        save_encoder(own, start.encoder, name=start.name, views=start.views, norm=norm, **seen)
    about = {
        "folders": [str(each) for each in task.index.folders],
        "labels": list(task.labels),
        "fraction": task.fraction,
        "has_start": start is not None,
        "source": source,
        "config": to_mapping(work.config),
        "mark": work.mark,
        "options": work.options,
    }
    with atomic_file(folder / _TASK) as file:
        np.savez(file, about=np.array(json.dumps(about)), **{name: getattr(task, name) for name in _ARRAYS})


def read_work(folder: Path, kind: type[Config]) -> Work[Config]:
    """What is to be done in a cell's folder, with settings of that kind.

    Raises:
        InputError: nothing was written there, or the datasets are no longer where they were.
    """
    if not (folder / _TASK).is_file():
        raise InputError(f"{folder}: holds no fine-tuning to be done; give the folder of a cell that has been started")
    with np.load(folder / _TASK, allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        arrays = {name: file[name] for name in _ARRAYS}
    index = ShardIndex.open(*about["folders"])
    return Work(
        task=TrainingTask(index=index, labels=tuple(about["labels"]), fraction=about["fraction"], **arrays),
        start=_start(folder, about),
        config=from_mapping(kind, about["config"]),
        mark=about["mark"],
        options=about["options"],
    )


def _start(folder: Path, about: dict[str, Any]) -> LoadedEncoder | None:
    if not about["has_start"]:
        return None
    if about["source"]:
        model = open_foreign(about["source"])
        metadata = {"norm": "batch", "source": about["source"]}
        return LoadedEncoder(encoder=model.encoder, name=model.name, views=model.views, metadata=metadata)
    start, file = load_encoder(folder / _START), folder / _START / FILES["query"]
    return replace(start, seen=load_seen(file, start.metadata))


def write_result(folder: Path, result: Trained, mark: str) -> None:
    """Writes what :func:`read_result` reads; ``mark`` is the work's."""
    about = np.array(json.dumps({"fingerprint": mark, "details": result.details}))
    with atomic_file(folder / _RESULT) as file:
        np.savez(file, about=about, valid_scores=result.valid_scores, test_scores=result.test_scores)


def read_result(folder: Path, mark: str) -> Trained | None:
    """The result in a cell's folder, if there is one of the work of this mark."""
    if not (folder / _RESULT).is_file():
        return None
    with np.load(folder / _RESULT, allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        if about["fingerprint"] != mark:
            return None
        return Trained(valid_scores=file["valid_scores"], test_scores=file["test_scores"], details=about["details"])


def remove_exchange(folder: Path) -> None:
    """Removes what was written for the launcher's processes, once its result has been read."""
    for name in (_TASK, _RESULT):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / _START, ignore_errors=True)
