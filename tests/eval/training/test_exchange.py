"""What a command tells the processes that it starts."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eval.finetune.config import FinetuneConfig
from eval.training.exchange import read_work, remove_exchange, write_work
from eval.training.task import TrainingTask, Work, fingerprint
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.encoders.build import build_encoder
from train.encoders.saved import LoadedEncoder
from train.encoders.seen import Seen


def test_a_task_comes_back_from_its_folder(tiny_dataset: Path, tmp_path: Path) -> None:
    index, config = ShardIndex.open(tiny_dataset), FinetuneConfig(batch_size=8)
    labels = index.labels("blob")[:, None]
    rows = {"train": index.rows[:40], "valid": index.rows[40:64], "test": index.rows[64:]}
    task = TrainingTask(
        index=index,
        labels=("blob",),
        fraction=1.0,
        train_labels=labels[:40],
        valid_labels=labels[40:64],
        **{f"{name}_rows": each for name, each in rows.items()},
    )
    seen = Seen(images=np.array([7], dtype=np.uint64), splits={"former": ["train"]})
    encoder = build_encoder("resnet18", seed=0).eval()
    start = LoadedEncoder(encoder=encoder, name="resnet18", views=ViewSpec(size=32), metadata={}, seen=seen)
    mark = fingerprint(task, start, config)
    write_work(tmp_path, Work(task=task, start=start, config=config, mark=mark))
    read = read_work(tmp_path, FinetuneConfig)
    assert (read.config, read.mark) == (config, mark)
    assert fingerprint(read.task, read.start, read.config) == mark
    assert read.start is not None
    assert (read.start.seen.images.tolist(), read.start.seen.splits) == ([7], seen.splits)
    changed = task.train_labels.copy()
    changed[0] = 1 - changed[0]
    assert fingerprint(dataclasses.replace(task, train_labels=changed), start, config) != mark
    with pytest.raises(InputError, match="no fine-tuning to be done"):
        read_work(tmp_path / "nowhere", FinetuneConfig)
    remove_exchange(tmp_path)
    assert not list(tmp_path.iterdir())
