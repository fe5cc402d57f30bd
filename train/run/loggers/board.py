"""TensorBoard: curves and warnings in ``RUN/tensorboard``."""

from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from shards.base.atomic import naming
from train.run.loggers.contract import End, Run, numbers


class Board:
    """Curves under the names of ``metrics.jsonl``; what a killed run wrote behind ``run.step`` is hidden."""

    def __init__(self, run: Run) -> None:
        self._folder = run.folder / "tensorboard"
        with naming(self._folder):
            self._writer = SummaryWriter(str(self._folder), purge_step=run.step + 1)

    def write(self, line: Mapping[str, Any]) -> None:
        with naming(self._folder):
            for kind, message in line.get("warnings", {}).items():
                self._writer.add_text(kind, message, line["step"])
            for name, value in numbers(line).items():
                self._writer.add_scalar(name, value, line["step"])

    def close(self, end: End) -> None:
        with naming(self._folder):
            self._writer.close()
