import json
from pathlib import Path

from train.run.metrics_file import CheckpointScores
from train.settings.config import RunConfig

LINES = [
    {"step": 3, "loss": 4.0},
    {"step": 4, "epoch": 1.0, "knn_auroc/blob": 0.8, "knn_auroc/other": 0.6},
    {"step": 4, "loss": 5.0},
    {"step": 8, "knn_auroc/blob": None},
]


def write(folder: Path) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return folder


def test_the_loss_where_nothing_better_is_measured(tmp_path: Path) -> None:
    scores = CheckpointScores(write(tmp_path), RunConfig(keep_best=1))
    assert [scores.at(step) for step in (3, 4, 8)] == [-4.0, -5.0, None]
    assert not scores.is_due(batch=8, batches_per_epoch=4)


def test_the_mean_auroc_where_it_is_measured(tmp_path: Path) -> None:
    scores = CheckpointScores(write(tmp_path), RunConfig(keep_best=1, knn_label=("blob", "other"), knn_every=2))
    assert [scores.at(step) for step in (3, 4, 8)] == [None, 0.7, None]
    assert [batch for batch in range(1, 20) if scores.is_due(batch=batch, batches_per_epoch=4)] == [8, 16]
