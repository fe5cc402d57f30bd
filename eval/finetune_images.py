"""Fine-tuning on images: an encoder and a linear head, trained on one draw."""

import math
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from pathlib import Path

from eval.finetune_config import FinetuneConfig, num_steps
from eval.finetune_feed import ImageFeed
from eval.finetune_model import FinetuneModel, parameter_groups, resolve_norm, save_finetuned, train_mode
from eval.finetune_scores import Scorer
from eval.finetune_task import Finetuned, FinetuneTask, fingerprint, training_views
from eval.finetune_train import Training, train
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
