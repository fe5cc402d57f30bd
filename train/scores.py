"""What tells a run's checkpoints apart: kNN AUROC where the run measures it, else the loss."""

from pathlib import Path

from train.monitor import read_metrics
from train.sections import RunConfig


class Scores:
    """Reads a run's ``metrics.jsonl``.

    A score by loss is of the steps since the line before; a loss that rises while a queue fills makes it a poor one, so
    ``run.keep_best`` is best used with ``run.knn_label``.
    """

    def __init__(self, folder: Path, run: RunConfig) -> None:
        self._path = folder / "metrics.jsonl"
        self._every = run.knn_every if run.knn_label and run.keep_best else 0
        self._by_loss = not (run.knn_label and run.knn_every)

    def is_due(self, *, batch: int, batches_per_epoch: int) -> bool:
        """Whether kNN AUROC is measured behind this many batches, which then are worth a checkpoint."""
        return self._every > 0 and batch % (self._every * batches_per_epoch) == 0

    def at(self, step: int) -> float | None:
        """The score of the model behind ``step``, higher is better; None where it was not measured then."""
        score = None
        for line in read_metrics(self._path):
            if line["step"] != step:
                continue
            if self._by_loss and line.get("loss") is not None:
                score = -line["loss"]
            aurocs = [value for name, value in line.items() if name.startswith("knn_auroc/") and value is not None]
            if aurocs and not self._by_loss:
                score = sum(aurocs) / len(aurocs)
        return score
