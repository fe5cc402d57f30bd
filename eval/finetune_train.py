"""The loop of fine-tuning: an encoder and a linear head, trained on one draw, early stopping on validation AUROC.

Legend: B images a step and process, L labels.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from eval.finetune_config import FinetuneConfig, num_steps, validation_steps
from eval.finetune_engine import build_engine
from eval.finetune_kept import Kept
from eval.finetune_model import (
    FinetuneModel,
    masked_loss,
    parameter_groups,
    positive_weights,
    resolve_norm,
    save_finetuned,
    train_mode,
)
from eval.finetune_scores import DIVERGED, Scorer, validate
from eval.finetune_snapshots import Snapshots, average_statistics
from eval.finetune_task import Finetuned, FinetuneTask, fingerprint, training_views
from pipeline.loader import Batch, Loader, build_loader
from shards.errors import InputError
from train.export import LoadedEncoder
from train.plain import to_mapping
from train.precision import resolve_precision
from train.schedule import learning_rate
from train.sections import ScheduleConfig
from train.stop import Stop
from train.world import World


def finetune(
    start: LoadedEncoder, task: FinetuneTask, config: FinetuneConfig, folder: Path, *, world: World, title: str = ""
) -> Finetuned:
    """Fine-tunes a copy of ``start``, from the folder's checkpoint if it was interrupted.

    Raises:
        InputError: nothing can be learnt from the task, or the loss is not finite.
        KeyboardInterrupt: it was asked to stop, by SIGINT or SIGTERM, and has written a checkpoint.
    """
    # ---- check at the door
    task.check()
    begin = time.perf_counter()
    num_labels = len(task.labels)
    precision = "fp32" if config.precision == "fp32" else resolve_precision(config.precision, world.device)
    precision = "fp32" if precision == "fp16" else precision  # would need its loss scaled
    norm = resolve_norm(start.encoder, config.norm)
    train = task.select(task.train_rows)
    batch_size = math.ceil(min(config.batch_size, len(train)) / world.size)
    steps = num_steps(config, fraction=task.fraction, num_images=len(train))
    mark = fingerprint(task, start, config)

    # ---- build
    model = FinetuneModel(deepcopy(start.encoder), num_labels, seed=config.seed).to(world.device)
    groups = parameter_groups(model, config)
    factors = [group["factor"] for group in groups]
    engine = build_engine(
        model,
        groups,
        precision=precision,
        clipping=config.gradient_clipping,
        batch_size=batch_size,
        world=world,
    )
    labels = torch.from_numpy(task.train_labels).float()
    weights = None
    if config.class_weights == "balanced":
        weights = torch.from_numpy(positive_weights(task.train_labels)).to(world.device)
    schedule = ScheduleConfig(name=config.schedule, warmup_epochs=config.warmup)  # an epoch being the whole run
    kept = Kept(average=config.average, num_labels=num_labels)
    snapshots = Snapshots(folder, mark=mark, world=world)
    with ExitStack() as stack:
        loader = build_loader(
            train,
            training_views(config, start.views),
            batch_size=batch_size,
            num_views=1,
            engine=config.engine,
            device=world.device,
            seed=config.seed,
            rank=world.rank,
            world_size=world.size,
            last="pad",
        )
        stack.callback(loader.close)
        scorers = [
            Scorer(
                task.select(rows), start.views, engine=config.engine, repeats=repeats, precision=precision, world=world
            )
            for rows, repeats in ((task.valid_rows, True), (task.test_rows, config.average > 1))
        ]
        for scorer in scorers:
            stack.callback(scorer.close)
        valid, test = scorers
        step, seconds = snapshots.restore(engine=engine, model=model, loader=loader, kept=kept)
        due = validation_steps(config, steps) if len(task.valid_rows) else {steps}
        stop = Stop(world) if threading.current_thread() is threading.main_thread() else None  # else no signal comes
        if stop is not None and world.size == 1:
            stack.callback(stop.close)  # among several, an error ends the process
        progress = stack.enter_context(
            tqdm(total=steps, initial=step, desc=title or "fine-tuning", unit="step", disable=not world.leads)
        )

        # ---- train; nothing in here waits for the device, except at validations
        totals = torch.zeros(2, device=world.device)  # loss and labels since the last validation
        images_done, is_stopping, is_done = 0, False, step >= steps or _has_enough(kept, config)
        train_mode(model, norm)
        for batch in () if is_done else _endless(loader):
            rate = learning_rate(schedule, lr=config.lr, epoch=(step + 0.5) / steps, num_epochs=1)
            for group, factor in zip(engine.optimizer.param_groups, factors, strict=True):
                group["lr"] = rate * factor
            targets = labels[train.positions(batch.rows)].to(world.device, non_blocking=True)  # (B, L)
            logits = engine(batch.views[0].contiguous(memory_format=torch.channels_last))
            loss, count = masked_loss(logits, targets, weights)
            totals += torch.stack([loss.detach(), count])
            engine.backward(loss / world.mean(count.clone()).clamp(min=1))
            engine.step()
            step, images_done = step + 1, images_done + batch_size * world.size
            progress.update()
            if step in due:
                train_loss = _mean_loss(totals, world, step=step)
                average_statistics(model, world)
                if len(task.valid_rows):
                    validation = validate(step, task.valid_labels, valid_scores := valid(model, num_labels))
                    if kept.note(validation, model):
                        kept.add_scores(step, valid_scores, test(model, num_labels))
                    progress.set_postfix(auroc=f"{validation.mean:.3f}", loss=f"{train_loss:.3f}")
                    train_mode(model, norm)
            is_done = step >= steps or _has_enough(kept, config)
            is_stopping = stop is not None and stop.agreed()
            if is_stopping or (step % config.checkpoint_every == 0 and not is_done):
                done = seconds + time.perf_counter() - begin
                snapshots.save(step, engine=engine, model=model, loader=loader, kept=kept, seconds=done)
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
            valid_scores, test_scores = valid(model, num_labels), test(model, num_labels)
    if world.leads and config.keep_model:
        save_finetuned(folder, model, start, labels=task.labels)
    snapshots.clear()
    details = {
        "steps": step,
        "planned_steps": steps,
        "epochs": step * batch_size * world.size / len(train),
        "best_step": kept.best.step if kept.best else step,
        "validations": [
            {"step": each.step, "auroc": each.mean if each.mean == each.mean else None, "loss": each.loss}
            for each in kept.history
        ],
        "precision": precision,
        "norm": norm,
        "batch_size": batch_size * world.size,
        "device": world.device.type,
        "settings": to_mapping(config),
        "images_per_second": images_done / train_seconds,
        "seconds": seconds + time.perf_counter() - begin,
    }
    return Finetuned(valid_scores=valid_scores, test_scores=test_scores, details=details)


def _endless(loader: Loader) -> Iterator[Batch]:
    while True:
        yield from loader


def _has_enough(kept: Kept, config: FinetuneConfig) -> bool:
    return bool(config.patience) and kept.num_since_best >= config.patience


def _mean_loss(totals: Tensor, world: World, *, step: int) -> float:
    """The mean loss since the last call, over all ranks; waits for the device.

    Raises:
        InputError: it is not finite.
    """
    total, count = world.total(totals.clone()).tolist()
    totals.zero_()
    if not math.isfinite(total):
        raise InputError(f"finetune.lr: the loss is not finite by step {step}; {DIVERGED}")
    return float(total / max(count, 1.0))
