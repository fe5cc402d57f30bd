"""The supervised loop: a model, trained on the examples of one draw, early stopping on validation AUROC.

What the model takes is the feed's business: images, or images and texts.

Legend: B examples a step and process, L labels.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.training.config import TrainingConfig, num_steps, validation_steps
from eval.training.engine import build_engine
from eval.training.feed import Examples, Feed
from eval.training.scores import DIVERGED, Scorer, validate
from eval.training.snapshots import Kept, Snapshots
from eval.training.task import Config, Trained, Work
from pipeline.upload import upload
from shards.base.bar import Bar
from shards.base.dataclass_io import to_mapping
from shards.base.errors import InputError
from train.engine.precision import Precision
from train.ranks.stop import Stop
from train.ranks.world import World
from train.settings.config import ScheduleConfig
from train.settings.schedule import learning_rate


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained, and on what. ``groups`` are AdamW's, each with its ``factor``, the share of the rate it learns
    at; ``feed`` gives the training examples, position by position of the task's ``train_rows``; ``valid`` and ``test``
    score those images; ``to_train_mode`` puts the model into training mode."""

    model: nn.Module
    groups: list[dict[str, Any]]
    feed: Feed
    valid: Scorer
    test: Scorer
    to_train_mode: Callable[[nn.Module], object]
    precision: Precision


def train(training: Training, work: Work[Config], folder: Path, *, world: World, title: str) -> Trained:
    """Trains the model in place, from the folder's checkpoint if it was interrupted, and leaves the best weights in it.

    Raises:
        InputError: the loss or a score is not finite.
        KeyboardInterrupt: it was asked to stop, by SIGINT or SIGTERM, and has written a checkpoint.
    """
    # ---- build
    begin = time.perf_counter()
    task, config, model, feed = work.task, work.config, training.model, training.feed
    num_labels, num_train = len(task.labels), len(task.train_rows)
    batch_size, steps = work.batch_size(world), num_steps(config, fraction=task.fraction, num_images=num_train)
    factors = [group["factor"] for group in training.groups]
    engine = build_engine(
        model,
        training.groups,
        precision=training.precision,
        clipping=config.gradient_clipping,
        batch_size=batch_size,
        world=world,
    )
    labels = torch.from_numpy(task.train_labels).float()
    weights = None
    if config.class_weights == "balanced":
        weights = torch.from_numpy(positive_weights(task.train_labels)).to(world.device)
    kept = Kept(average=config.average, num_labels=num_labels)
    snapshots = Snapshots(folder, mark=work.mark, world=world)
    with ExitStack() as stack:
        step, seconds = snapshots.restore(engine=engine, model=model, feed=feed, kept=kept)
        due = validation_steps(config, steps) if len(task.valid_rows) else {steps}
        stop = Stop(world) if threading.current_thread() is threading.main_thread() else None  # else no signal comes
        if stop is not None and world.size == 1:
            stack.callback(stop.close)  # among several, an error ends the process
        progress = stack.enter_context(Bar(total=steps, initial=step, desc=title, unit="step", disable=not world.leads))

        stack.enter_context(torch.random.fork_rng(devices=[world.device] if world.device.type == "cuda" else []))

        # ---- train; nothing in here waits for the device, except at validations
        totals = torch.zeros(2, device=world.device)  # loss and labels since the last validation
        num_done, is_stopping, is_done = 0, False, step >= steps or _has_enough(kept, config)
        training.to_train_mode(model)
        for examples in () if is_done else _endless(feed):
            rate = _rate(config, progress=(step + 0.5) / steps)
            for group, factor in zip(engine.optimizer.param_groups, factors, strict=True):
                group["lr"] = rate * factor
            targets = upload(labels[examples.positions], world.device)  # (B, L)
            # Of dropout: addressed by the step, so that an interrupted training goes on without a saved state.
            torch.manual_seed(((config.seed << 40) + step * world.size + world.rank) % 2**63)
            logits = engine(*examples.inputs)
            loss, count = masked_loss(logits, targets, weights)
            totals += torch.stack([loss.detach(), count])
            engine.backward(loss / world.mean(count.clone()).clamp(min=1))
            engine.step()
            step, num_done = step + 1, num_done + batch_size * world.size
            progress.update()
            if step in due:
                train_loss = _mean_loss(totals, world, step=step, section=config.section)
                if len(task.valid_rows):
                    validation = validate(step, task.valid_labels, valid_scores := training.valid(model, num_labels))
                    if kept.note(validation, model):
                        kept.add_scores(step, valid_scores, training.test(model, num_labels))
                    progress.set_postfix(auroc=f"{validation.mean:.3f}", loss=f"{train_loss:.3f}")
                    training.to_train_mode(model)
            is_done = step >= steps or _has_enough(kept, config)
            is_stopping = stop is not None and stop.agreed()
            if is_stopping or (step % config.checkpoint_every == 0 and not is_done):
                done = seconds + time.perf_counter() - begin
                snapshots.save(step, engine=engine, model=model, feed=feed, kept=kept, seconds=done)
            if is_done or is_stopping:
                break
        if stop is not None and world.size > 1:
            stop.close()
        if is_stopping:
            raise KeyboardInterrupt
        train_seconds = time.perf_counter() - begin

        # ---- what comes out
        if kept.weights:
            model.load_state_dict(kept.weights)
        if config.average > 1 and kept.history:
            valid_scores, test_scores = kept.averaged()
        else:
            valid_scores, test_scores = training.valid(model, num_labels), training.test(model, num_labels)
    snapshots.clear()
    details = {
        "steps": step,
        "planned_steps": steps,
        "epochs": step * batch_size * world.size / num_train,
        "best_step": kept.best.step if kept.best else step,
        "validations": [
            {"step": each.step, "auroc": each.mean if each.mean == each.mean else None, "loss": each.loss}
            for each in kept.history
        ],
        "precision": training.precision,
        "batch_size": batch_size * world.size,
        "device": world.device.type,
        "settings": to_mapping(config),
        "images_per_second": num_done / train_seconds,
        "seconds": seconds + time.perf_counter() - begin,
    }
    return Trained(valid_scores=valid_scores, test_scores=test_scores, details=details)


def _endless(feed: Feed) -> Iterator[Examples]:
    while True:
        yield from feed


def _rate(config: TrainingConfig, *, progress: float) -> float:
    """The learning rate at a share of the steps, 0 <= progress < 1."""
    if config.schedule == "linear" and progress >= config.warmup:
        return config.lr * (1 - progress) / (1 - config.warmup)
    name = "constant" if config.schedule == "linear" else config.schedule
    schedule = ScheduleConfig(name=name, warmup_epochs=config.warmup)  # an epoch being the whole run
    return learning_rate(schedule, lr=config.lr, epoch=progress, num_epochs=1)


def _has_enough(kept: Kept, config: TrainingConfig) -> bool:
    return bool(config.patience) and kept.num_since_best >= config.patience


def _mean_loss(totals: Tensor, world: World, *, step: int, section: str) -> float:
    """The mean loss since the last call, over all ranks; waits for the device.

    Raises:
        InputError: it is not finite.
    """
    total, count = world.total(totals.clone()).tolist()
    totals.zero_()
    if not math.isfinite(total):
        raise InputError(f"{section}.lr: the loss is not finite by step {step}; {DIVERGED.format(section=section)}")
    return float(total / max(count, 1.0))


def positive_weights(labels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Negatives to positives of each label, (L,), for labels (M, L) of 0, 1 and NaN, both of which each has."""
    return ((labels == 0).sum(axis=0) / (labels == 1).sum(axis=0)).astype(np.float32)


def masked_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Binary cross entropy summed over what is labelled, and its count.

    Args:
        logits: (B, L).
        labels: (B, L) of 0, 1 and NaN.
        weights: (L,) of the positives; None weighs them as negatives.
    """
    is_labelled = ~labels.isnan()
    each = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), pos_weight=weights, reduction="none")
    return torch.where(is_labelled, each, 0.0).sum(), is_labelled.sum().to(each.dtype)
