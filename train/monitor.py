"""What a run shows of itself: metrics.jsonl, TensorBoard, a progress bar. Nothing here needs labels.

Legend: B batch, D embedding, F features, N rows.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from pipeline.loader import Loader
from shards.errors import InputError
from train.checkpoint import Progress
from train.methods.contract import Objective
from train.world import World

_WINDOW = 1024  # rows of features that the effective rank is taken over


def alignment(query: Tensor, key: Tensor) -> Tensor:
    """Mean squared distance of positives (B, D), normalised; 0 is perfect (Wang and Isola 2020, arXiv 2005.10242)."""
    return (query - key).square().sum(dim=1).mean()


def uniformity(embeddings: Tensor) -> Tensor:
    """Log of the mean Gaussian potential over pairs of (B, D), normalised; 0 is collapse, -4 spread over the whole
    sphere (Wang and Isola 2020)."""
    return torch.pdist(embeddings.float()).square().mul(-2).exp().mean().log()


def effective_rank(features: Tensor) -> Tensor:
    """Exponential of the entropy of the singular values of centred features (N, F); 1 is collapse, min(N, F) the most
    (Roy and Vetterli 2007; RankMe, arXiv 2210.02885, does not centre)."""
    centred = features.double() - features.double().mean(dim=0)
    share = torch.linalg.svdvals(centred)
    share = share / share.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return torch.special.entr(share).sum().exp()


class Monitor:
    """Collects on the device, reads at intervals, and writes on the leading rank.

    Args:
        folder: run folder.
        start: where the run goes on; lines of metrics after it are from a killed run and are dropped.
        images_per_step: over all ranks.
    """

    def __init__(
        self, folder: Path, *, start: Progress, num_steps: int, log_every: int, images_per_step: int, world: World
    ) -> None:
        self.world, self.num_steps, self.log_every, self.images_per_step = world, num_steps, log_every, images_per_step
        self.sums = torch.zeros(2, device=world.device)  # loss, accuracy
        self.num_batches = 0
        self.features: Tensor | None = None  # (N, F), a ring of the last rows
        self.num_features_seen = 0
        self.last: dict[str, float] = {}
        self._step = start.step
        self._time, self._wait = time.perf_counter(), 0.0
        if world.leads:
            self._path = folder / "metrics.jsonl"
            _drop_lines_after(self._path, start.step)
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start.step + 1)
            self._bar = tqdm(total=num_steps, initial=start.step, unit="step", dynamic_ncols=True, desc="pretrain")

    def observe(self, objective: Objective) -> None:
        """Takes note of one batch, without waiting for the device."""
        self.sums += torch.stack([objective.loss.detach(), objective.accuracy])
        self.num_batches += 1
        if self.features is None:
            self.features = objective.features.new_zeros((_WINDOW, objective.features.shape[1]), dtype=torch.float32)
        rows = objective.features[:_WINDOW]
        place = self.num_features_seen % _WINDOW
        fits = min(len(rows), _WINDOW - place)
        self.features[place : place + fits].copy_(rows[:fits])
        self.features[: len(rows) - fits].copy_(rows[fits:])
        self.num_features_seen += len(rows)

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
        line; so a resumed run writes the same lines as an uninterrupted one.

        Raises:
            InputError: the loss is not finite.
        """
        if self.world.leads:
            self._bar.update(1)
        if progress.step % self.log_every and not before_checkpoint:
            return
        loss, accuracy = (self.world.mean(self.sums) / self.num_batches).tolist()  # waits for the device
        now, wait = time.perf_counter(), loader.wait_seconds
        seconds, steps = now - self._time, progress.step - self._step
        if self.world.leads:
            self.last = {
                "step": progress.step,
                "epoch": round(epoch, 4),
                "loss": loss,
                "pretext_accuracy(%)": 100 * accuracy,
                "learning_rate": lr,
                "alignment": alignment(objective.query, objective.key).item(),
                "uniformity": uniformity(objective.query).item(),
                "effective_rank": self._effective_rank(),
                "throughput(img/s)": steps * self.images_per_step / seconds,
                "data_wait(%)": 100 * (wait - self._wait) / seconds,
                "time_left(s)": (self.num_steps - progress.step) * seconds / steps,
            }
            if self.world.device.type == "cuda":
                self.last["memory(GiB)"] = torch.cuda.max_memory_allocated(self.world.device) / 2**30
            self._write()
        if not torch.isfinite(torch.tensor(loss)):
            raise InputError(
                f"loss {loss} at step {progress.step}: the run has diverged; lower optimizer.lr "
                f"{lr:g}, set run.gradient_clipping 1, or use run.precision fp32, with a new --output"
            )
        self.sums.zero_()
        self.num_batches, self._step, self._time, self._wait = 0, progress.step, time.perf_counter(), wait

    def start_clock(self, loader: Loader) -> None:
        """Leaves out of the next line's throughput what came before, such as starting up or saving a checkpoint."""
        self._time, self._wait = time.perf_counter(), loader.wait_seconds

    def close(self) -> None:
        if self.world.leads:
            self._bar.close()
            self._board.close()

    def _effective_rank(self) -> float:
        assert self.features is not None
        return effective_rank(self.features[: min(self.num_features_seen, _WINDOW)]).item()

    def _write(self) -> None:
        rounded = {
            name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in self.last.items()
        }
        with self._path.open("a") as file:
            file.write(json.dumps(rounded) + "\n")
        for name, value in self.last.items():
            if name != "step":
                self._board.add_scalar(name, value, self.last["step"])
        self._bar.set_postfix_str(
            f"loss {self.last['loss']:.3f}, {self.last['throughput(img/s)']:.0f} img/s, "
            f"data wait {self.last['data_wait(%)']:.0f}%",
            refresh=False,
        )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last line cut off by a kill is passed over."""
    lines = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def _drop_lines_after(path: Path, step: int) -> None:
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
