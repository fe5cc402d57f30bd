"""Where a run's metrics may go beside ``metrics.jsonl``, and whether what that takes is installed. Free of torch."""

import importlib.util
from collections.abc import Sequence
from typing import Literal

from shards.base.errors import InputError

LoggerName = Literal["jsonl", "tensorboard", "wandb", "mlflow"]
PACKAGES = {"tensorboard": "moco-cxr[train]", "wandb": "moco-cxr[wandb]", "mlflow": "moco-cxr[mlflow]"}
"""What is imported for a logger, which bears its name, and what to install for it."""


def check_loggers(names: Sequence[str]) -> None:
    """Refuses loggers whose package is not installed.

    Raises:
        InputError: naming the first, with the command that installs it.
    """
    for name in names:
        if name in PACKAGES and not _is_installed(name):
            raise InputError(
                f"run.log {name}: the package {name} is not installed; pip install '{PACKAGES[name]}', or leave it out"
            )


def _is_installed(package: str) -> bool:
    """A folder of that name, as wandb leaves them where it runs, is no package."""
    try:
        found = importlib.util.find_spec(package)
    except ValueError:  # it was put among the modules without a word on where it is from
        return True
    return found is not None and found.origin is not None
