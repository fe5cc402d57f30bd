"""MLflow: one run there for a run folder, however often it is stopped and continued.

Server and experiment are those of its own variables (``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME``); without a
server the files are in ``RUN/mlflow``.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from shards.base.words import reason_of
from train.run.loggers.contract import End, Run, keep_id, kept_id, numbers, plain_name

EXPERIMENT = "moco-cxr"
_LONGEST, _MOST = 500, 100  # characters of a value, and values of a request, that servers take
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MlflowRun:
    """A run under the identifier in ``RUN/mlflow.json``."""

    def __init__(self, run: Run) -> None:
        address = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not address:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # it would rather have a server or a database
            address = (run.folder.resolve() / "mlflow").as_uri()
        self._client = MlflowClient(tracking_uri=address)
        self._written: dict[str, int] = {}  # the last step that is there, by name
        kept = run.folder / "mlflow.json"
        found = kept_id(kept)
        self._is_new = found is None
        self._id = self._begin(run) if found is None else found
        if found is None:
            keep_id(kept, self._id)
            return
        try:
            self._client.update_run(self._id, "RUNNING")
        except Exception as error:
            raise RuntimeError(f"{reason_of(error)}; remove {kept} to begin a new run there") from error

    def _begin(self, run: Run) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        begun: str = self._client.create_run(number, run_name=run.folder.resolve().name).info.run_id
        values = [Param(plain_name(key), value[:_LONGEST]) for key, value in _flat(run.settings).items()]
        for first in range(0, len(values), _MOST):
            self._client.log_batch(begun, params=values[first : first + _MOST])
        return begun

    def write(self, line: Mapping[str, Any]) -> None:
        step, now = line["step"], int(time.time() * 1000)
        fresh = [
            Metric(name, value, now, step)
            for name, value in ((plain_name(name), value) for name, value in numbers(line).items())
            if step > self._last_step(name)
        ]
        tags = [RunTag(f"warning.{plain_name(kind)}", text) for kind, text in line.get("warnings", {}).items()]
        for first in range(0, len(fresh), _MOST):
            self._client.log_batch(self._id, metrics=fresh[first : first + _MOST])
        if tags:
            self._client.log_batch(self._id, tags=tags)
        self._written |= {metric.key: step for metric in fresh}

    def _last_step(self, name: str) -> int:
        """A killed run may have sent what is now trained again."""
        if name not in self._written:
            sent = [] if self._is_new else self._client.get_metric_history(self._id, name)
            self._written[name] = max((metric.step for metric in sent), default=-1)
        return self._written[name]

    def close(self, end: End) -> None:
        self._client.set_terminated(self._id, _STATUS[end])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in settings.items():
        inner = f"{prefix}{name}"
        found |= _flat(value, f"{inner}.") if isinstance(value, Mapping) else {inner: str(value)}
    return found
