"""The loggers that ``run.log`` names, opened."""

import importlib
from collections.abc import Callable, Sequence
from functools import partial

from train.run.loggers.contract import Logger, Run
from train.run.loggers.guarded import Guarded

_CLASSES = {
    "tensorboard": ("train.run.loggers.board", "Board"),
    "wandb": ("train.run.loggers.wandb_run", "WandbRun"),
    "mlflow": ("train.run.loggers.mlflow_run", "MlflowRun"),
}
"""Module and class of each; ``jsonl`` is the run's own record, which :class:`train.run.monitor.Monitor` keeps."""


def open_loggers(names: Sequence[str], run: Run, tell: Callable[[str], None]) -> list[Guarded]:
    """One of each, in threads of their own; ``tell`` prints that one has failed."""
    return [Guarded(name, partial(_open, name, run), tell) for name in dict.fromkeys(names) if name in _CLASSES]


def _open(name: str, run: Run) -> Logger:
    module, kind = _CLASSES[name]
    opened: Logger = getattr(importlib.import_module(module), kind)(run)
    return opened
