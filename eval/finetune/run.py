"""Fine-tuning on images: an encoder and a linear head, trained on one draw.

End-to-end fine-tuning of one cell of a comparison: an encoder, a label draw, the logits that come out.

In one process on one device, or in several that share each batch, under the deepspeed launcher. An interrupted cell
goes on from its folder's checkpoint, whatever the number of processes.
"""

import math
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from pathlib import Path

from eval.finetune.config import FinetuneConfig, check_finetune
from eval.finetune.model import FinetuneModel, parameter_groups, save_finetuned
from eval.training.config import num_steps
from eval.training.engine import resolve_norm, train_mode
from eval.training.feed import ImageFeed
from eval.training.launch import alone, launch, remove_empty
from eval.training.loop import Training, train
from eval.training.scores import Scorer
from eval.training.task import Finetuned, FinetuneTask, Work, fingerprint, training_views
from train.encoders.saved import LoadedEncoder
from train.engine.precision import resolve_precision
from train.ranks.world import World


def finetune(
    start: LoadedEncoder, task: FinetuneTask, config: FinetuneConfig, folder: Path, *, world: World, title: str = ""
) -> Finetuned:
    """Fine-tunes a copy of ``start``, from the folder's checkpoint if it was interrupted.

    Raises:
        InputError: nothing can be learnt from the task, or the loss is not finite.
        KeyboardInterrupt: it was asked to stop, by SIGINT or SIGTERM, and has written a checkpoint.
    """
    task.check()
    precision = "fp32" if config.precision == "fp32" else resolve_precision(config.precision, world.device)
    precision = "fp32" if precision == "fp16" else precision  # would need its loss scaled
    norm = resolve_norm(start.encoder, config.norm)
    images = task.select(task.train_rows)
    batch_size = math.ceil(min(config.batch_size, len(images)) / world.size)
    model = FinetuneModel(deepcopy(start.encoder), len(task.labels), seed=config.seed).to(world.device)
    with ExitStack() as stack:
        views = training_views(config, start.views)
        feed = ImageFeed(images, views, batch_size=batch_size, engine=config.engine, seed=config.seed, world=world)
        stack.callback(feed.close)
        scorers = [
            Scorer(
                task.select(rows), start.views, engine=config.engine, repeats=repeats, precision=precision, world=world
            )
            for rows, repeats in ((task.valid_rows, True), (task.test_rows, config.average > 1))
        ]
        for scorer in scorers:
            stack.callback(scorer.close)
        work = Training(
            model=model,
            groups=parameter_groups(model, config),
            feed=feed,
            valid=scorers[0],
            test=scorers[1],
            to_train_mode=partial(train_mode, norm=norm),
            batch_size=batch_size,
            steps=num_steps(config, fraction=task.fraction, num_images=len(images)),
            precision=precision,
            field="finetune",
            mark=fingerprint(task, start, config),
        )
        result = train(work, task, config, folder, world=world, title=title)
    if world.leads and config.keep_model:
        save_finetuned(folder, model, start, labels=task.labels)
    result.details["norm"] = norm
    return result


def run_finetune(
    start: LoadedEncoder,
    task: FinetuneTask,
    config: FinetuneConfig,
    folder: Path,
    *,
    device: str = "auto",
    title: str = "",
) -> Finetuned:
    """Fine-tunes a copy of ``start`` with a linear head for all labels of the task.

    Args:
        start: the encoder, its name and the views it was trained on.
        folder: of this cell alone: checkpoints while it runs and, by ``keep_model``, the model it ends with.
        device: ``cpu``, ``cuda``, ``cuda:1``; auto: a GPU if there is one. Several processes take the GPUs in turn.
        title: of the progress bar.

    Raises:
        InputError: settings out of range, a label with one class in the draw, an absent device, a loss that is not
            finite, or processes that failed, of which each has said why.
        KeyboardInterrupt: it was asked to stop, and has written a checkpoint.
    """
    check_finetune(config)
    task.check()
    if config.num_processes > 1:
        work = Work(task=task, start=start, config=config)
        return launch(work, folder, mark=fingerprint(task, start, config), field="finetune", device=device)
    result = finetune(start, task, config, folder, world=alone(device), title=title)
    remove_empty(folder)
    return result
