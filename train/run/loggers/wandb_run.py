"""Weights & Biases: one run there for a run folder, however often it is stopped and continued.

Account, project, server and mode are those of its own variables (``WANDB_API_KEY``, ``WANDB_PROJECT``,
``WANDB_ENTITY``, ``WANDB_BASE_URL``, ``WANDB_MODE=offline``). What it gets are settings, metrics, warnings and its own
account of the machine; neither code nor the state of a repository nor what is printed.
"""

import os
import uuid
from collections.abc import Mapping
from typing import Any

import wandb

from train.run.loggers.contract import End, Run, keep_id, kept_id, numbers, plain_name

PROJECT = "moco-cxr"
_SECONDS = 30.0


class WandbRun:
    """A run under the identifier in ``RUN/wandb.json``; files of an offline run are in ``RUN/wandb``."""

    def __init__(self, run: Run) -> None:
        kept = run.folder / "wandb.json"
        if (name := kept_id(kept)) is None:
            name = uuid.uuid4().hex[:8]
            keep_id(kept, name)
        quiet = wandb.Settings(
            silent=True,  # and so asks for no key on a terminal
            console="off",
            disable_git=True,
            disable_code=True,
            init_timeout=_SECONDS,
            finish_timeout=_SECONDS,
        )
        self._run = wandb.init(
            id=name,
            resume="allow",
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.folder.resolve().name,
            dir=str(run.folder),
            config=dict(run.settings),
            settings=quiet,
        )

    def write(self, line: Mapping[str, Any]) -> None:
        if line["step"] < self._run.starting_step:  # which a killed run has sent already
            return
        self._run.log({plain_name(name): value for name, value in numbers(line).items()}, step=line["step"])
        for kind, message in line.get("warnings", {}).items():
            self._run.alert(title=kind, text=message, level="WARN")

    def close(self, end: End) -> None:
        self._run.finish(exit_code=int(end == "failed"))
