"""What a run shows of itself: a progress bar, ``metrics.jsonl``, loggers, and warnings. Every name says its unit.

A line of ``metrics.jsonl`` is of the steps since the line before: loss and accuracy are means over them, embeddings are
those of the last batch, features those of the last 1,024 images at most. A resumed run writes the lines that an
uninterrupted one does, timings excepted.

Legend: N rows, F features.
"""

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.loader import Loader
from shards.base.atomic import naming
from shards.base.bar import Bar
from train.methods.contract import Objective
from train.ranks.world import World
from train.run.health import find_warnings
from train.run.knn import Neighbours
from train.run.loggers.contract import End
from train.run.loggers.guarded import CLOSE_SECONDS, Guarded
from train.run.metrics_file import drop_lines_after, last_values
from train.run.representation import measure
from train.trainer import Progress

_WINDOW = 1024  # rows of features that the effective rank is taken over
_FAILED_SECONDS = 5.0  # that an error waits for loggers


class Monitor:
    """Collects on the device, reads at intervals, and writes on the leading rank.

    Args:
        folder: run folder.
        start: where the run goes on; lines of metrics after it are from a killed run and are dropped.
        images_per_step: over all ranks.
        queue_size: past keys that serve as negatives; 0 where there is no queue.
        neighbours: what :meth:`measure_knn_if_due` measures.
        loggers: of the leading rank; they get every line that is written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        start: Progress,
        num_steps: int,
        log_every: int,
        images_per_step: int,
        world: World,
        queue_size: int = 0,
        neighbours: Neighbours | None = None,
        loggers: Sequence[Guarded] = (),
    ) -> None:
        self.world, self.num_steps, self.log_every, self.images_per_step = world, num_steps, log_every, images_per_step
        self.queue_size, self.neighbours, self.loggers = queue_size, neighbours, loggers
        self._sums = torch.zeros(2, device=world.device)  # loss, accuracy
        self._num_batches, self._has_accuracy = 0, False
        self._features = Window(_WINDOW)
        self._step = start.step
        self._time, self._wait = time.perf_counter(), 0.0
        if world.leads:
            self._path = folder / "metrics.jsonl"
            self._lines = drop_lines_after(self._path, start.step)
            self._newest = last_values(self._lines)
            self._bar = Bar(
                total=num_steps,
                initial=start.step,
                unit="step",
                dynamic_ncols=True,
                desc="pretrain",
            )

    def observe(self, objective: Objective) -> None:
        """Takes note of one batch, without waiting for the device."""
        self._sums[0] += objective.loss.detach()
        if objective.accuracy is not None:
            self._sums[1] += objective.accuracy.detach()
            self._has_accuracy = True
        self._num_batches += 1
        self._features.put(objective.features)

    def after_step(
        self,
        progress: Progress,
        objective: Objective,
        *,
        epoch: float,
        lr: float,
        loader: Loader,
        before_checkpoint: bool,
    ) -> None:
        """Moves the bar and, at intervals and before each checkpoint, writes the metrics of the steps since the last
        line; so a resumed run writes the same lines as an uninterrupted one. The loss must be finite:
        :class:`train.run.guards.LossWatch` sees to that before.
        """
        if self.world.leads:
            self._bar.update(1)
        if progress.step % self.log_every and not before_checkpoint:
            return
        loss, accuracy = (self.world.mean(self._sums) / self._num_batches).tolist()  # waits for the device
        now, wait = time.perf_counter(), loader.wait_seconds
        if self.world.leads:
            seconds, steps = now - self._time, progress.step - self._step
            line = {"step": progress.step, "epoch": round(epoch, 4), "loss": loss}
            if self._has_accuracy:
                line["pretext_accuracy(%)"] = 100 * accuracy
            line |= {"learning_rate": lr, **measure(objective.first, objective.second, self._features.rows())}
            line |= {
                "throughput(img/s)": steps * self.images_per_step / seconds,
                "data_wait(%)": 100 * (wait - self._wait) / seconds,
                "time_left(s)": (self.num_steps - progress.step) * seconds / steps,
                "peak_memory(GiB)": peak_memory_bytes(self.world.device) / 2**30,
            }
            self._write(line)
        self._sums.zero_()
        self._features.clear()
        self._num_batches, self._step, self._time, self._wait = 0, progress.step, time.perf_counter(), wait

    def measure_knn_if_due(self, progress: Progress, encoder: nn.Module, *, loader: Loader) -> None:
        """Writes kNN AUROC where it is due: at the start, every few epochs, and at the end. All ranks call it together,
        before the first batch and after any others; what is written already is not done again.

        The leading rank measures and the others wait: each has running statistics of its own, and those of the leading
        one are exported.
        """
        if self.neighbours is None:
            return
        num_epochs, batch = divmod(progress.batch, len(loader))
        is_due = batch == 0 and num_epochs % self.neighbours.every == 0
        if not is_due and progress.step != self.num_steps:
            return
        start = time.perf_counter()
        if self.world.leads:
            epoch = round(progress.batch / len(loader), 4)
            if not any("knn_time(s)" in line and line["epoch"] == epoch for line in self._lines):
                measured = self.neighbours(encoder)
                seconds = time.perf_counter() - start
                self._write({"step": progress.step, "epoch": epoch, **measured, "knn_time(s)": seconds})
        self.world.barrier()
        self._time += time.perf_counter() - start  # no step's time

    def start_clock(self, loader: Loader) -> None:
        """Leaves out of the next line's throughput what came before, such as starting up or saving a checkpoint."""
        self._time, self._wait = time.perf_counter(), loader.wait_seconds

    def close(self, end: End) -> None:
        """Ends the bar and the loggers, which have sent what they had or are told of; a second time does nothing."""
        if self.world.leads:
            self._bar.close()
        for logger in self.loggers:
            logger.end(end)
        for logger in self.loggers:
            logger.wait(_FAILED_SECONDS if end == "failed" else CLOSE_SECONDS)

    def _write(self, measured: dict[str, float]) -> None:
        line: dict[str, Any] = {name: _rounded(value) for name, value in measured.items()}
        self._lines.append(line)
        if "loss" in line:
            warnings = find_warnings(
                self._lines,
                images_per_step=self.images_per_step,
                queue_size=self.queue_size,
                num_ranks=self.world.size,
            )
            if warnings:
                line["warnings"] = warnings
            for message in warnings.values():
                Bar.write(f"warning: {message}", file=sys.stderr)
        with naming(self._path), self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        for logger in self.loggers:
            logger.write(line)
        self._newest |= line
        self._bar.set_postfix_str(_summary(self._newest), refresh=False)


class Window:
    """The last ``size`` rows of what was put in, on its device; putting in never waits for it."""

    def __init__(self, size: int) -> None:
        self.size, self.num_seen = size, 0
        self._ring: Tensor | None = None  # (size, F) fp32

    def put(self, rows: Tensor) -> None:
        """Takes rows (N, F)."""
        rows = rows.detach()[-self.size :]
        if self._ring is None:
            self._ring = rows.new_zeros((self.size, rows.shape[1]), dtype=torch.float32)
        place = self.num_seen % self.size
        fits = min(len(rows), self.size - place)
        self._ring[place : place + fits].copy_(rows[:fits])
        self._ring[: len(rows) - fits].copy_(rows[fits:])
        self.num_seen += len(rows)

    def rows(self) -> Tensor:
        """What it holds, (N, F) fp32, in no particular order."""
        assert self._ring is not None, "nothing was put in yet"
        return self._ring[: min(self.num_seen, self.size)]

    def clear(self) -> None:
        self.num_seen = 0


def peak_memory_bytes(device: torch.device) -> int:
    """The most that this process has had: allocated on a GPU by torch, or resident in host memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _rounded(value: float) -> float | None:
    """Six digits; JSON has no word for what is not finite."""
    if isinstance(value, int):
        return value
    return float(f"{value:.6g}") if abs(value) < float("inf") else None


def _summary(values: dict[str, Any]) -> str:
    """Behind the bar, which itself shows steps, time gone and time left."""
    shown = {
        "loss": "loss {:.3f}",
        "pretext_accuracy(%)": "acc {:.0f}%",
        "throughput(img/s)": "{:.0f} img/s",
        "data_wait(%)": "wait {:.0f}%",
        "peak_memory(GiB)": "{:.1f} GiB",
    }
    parts = [form.format(values[name]) for name, form in shown.items() if values.get(name) is not None]
    parts += [
        f"kNN {name.removeprefix('knn_auroc/')} {value:.3f}"
        for name, value in values.items()
        if name.startswith("knn_auroc/") and value is not None
    ]
    return ", ".join(parts)
