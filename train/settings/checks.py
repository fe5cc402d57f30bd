"""The checks of a pretraining run's settings at the door: what no single field can tell."""

import itertools

from shards.base.dataclass_io import check_fields
from shards.base.errors import InputError
from shards.base.words import as_called
from train.settings.architectures import check_name, check_view_size
from train.settings.config import PretrainConfig, has_queue, norm_strategy
from train.settings.deepspeed import read_own_json
from train.settings.loggers import check_loggers
from train.settings.methods import METHODS
from train.settings.recipes import RANDOM_FACTOR, RECIPES
from train.settings.schedule import images_per_step, top_rate

_READERS = {
    ("optimizer", "betas"): ("adam", "adamw"),
    ("optimizer", "sgd_momentum"): ("sgd", "lars"),
    ("optimizer", "trust"): ("lars",),
    ("schedule", "milestones"): ("step",),
    ("schedule", "gamma"): ("step",),
    ("schedule", "final_lr"): ("step", "cosine"),
}
"""Which optimisers and schedules read a field that not all of them read."""


def check_config(config: PretrainConfig, *, world_size: int) -> None:
    """Refuses settings that cannot work, or that would silently do something else than what they say.

    Raises:
        InputError: naming the field, its value and the remedy.
    """
    method, run = config.method, config.run
    if not config.data:
        raise InputError(
            f"--data: not given; name one or more dataset folders that `{as_called('shards build')}` wrote"
        )
    if config.output is None:
        raise InputError("--output: not given; name a folder for the run")
    check_fields(config)
    if run.deepspeed is not None:
        read_own_json(run.deepspeed)
    check_loggers(run.log)
    _check_schedule(config, world_size=world_size)
    check_name(config.encoder.name)
    check_view_size(config.encoder.name, config.views.size)
    _check_method(config)
    _check_unread(config)
    _check_norm(config, world_size=world_size)
    keys = run.batch_size * world_size * (2 if method.name == "moco_v2plus" else 1)
    if has_queue(method) and method.queue_size < keys:
        raise InputError(
            f"method.queue_size {method.queue_size}: smaller than the {keys} keys of one step; "
            "raise it, or lower run.batch_size"
        )


def _check_method(config: PretrainConfig) -> None:
    method, end = config.method, config.method.momentum_end
    if end is not None and not method.momentum <= end <= 1:
        raise InputError(
            f"method.momentum_end {end:g}: method.momentum {method.momentum:g} rises to it; give a value from there to "
            "1, or leave it out"
        )
    for name in dict.fromkeys(itertools.chain.from_iterable(entry.reads for entry in METHODS.values())):
        readers = [other for other, entry in METHODS.items() if name in entry.reads]
        if method.name not in readers and _is_chosen(config, "method", name):
            raise InputError(
                f"method.{name} {getattr(method, name)}: would do nothing, for {method.name} has no such thing; leave "
                f"it out, or give --method.name {' or '.join(readers)}"
            )


def _check_unread(config: PretrainConfig) -> None:
    for (section, name), readers in _READERS.items():
        settings = getattr(config, section)
        if settings.name not in readers and _is_chosen(config, section, name):
            raise InputError(
                f"{section}.{name} {getattr(settings, name)}: would do nothing, for {settings.name} does not read it; "
                f"leave it out, or give --{section}.name {' or '.join(readers)}"
            )
    if config.optimizer.scaling == "none" and _is_chosen(config, "optimizer", "base_batch"):
        raise InputError(
            f"optimizer.base_batch {config.optimizer.base_batch}: would do nothing, for optimizer.scaling is none; "
            "leave it out, or give --optimizer.scaling linear or sqrt"
        )


def _check_norm(config: PretrainConfig, *, world_size: int) -> None:
    method, norm, run = config.method, config.norm, config.run
    strategy = norm_strategy(config, world_size)
    if strategy == "shuffle" and not METHODS[method.name].has_target:
        raise InputError(
            f"norm.strategy shuffle: deals out the images of the momentum copy, and {method.name} has none; use auto, "
            "sync, plain or group"
        )
    if strategy == "shuffle" and world_size == 1:
        raise InputError(
            "norm.strategy shuffle: does nothing with one process, and batch norm would leak which key belongs to "
            "which query; use split, or start several processes: moco-cxr pretrain ... --num-processes N"
        )
    if strategy in ("sync", "plain") and has_queue(method):
        raise InputError(
            f"norm.strategy {norm.strategy}: with the queue of {method.name}, batch norm would leak which key belongs "
            "to which query; use split, shuffle or group"
        )
    if strategy == "split" and (run.batch_size % norm.num_groups or run.batch_size < 2 * norm.num_groups):
        raise InputError(
            f"norm.num_groups {norm.num_groups}: does not split run.batch_size {run.batch_size} into equal groups of "
            "2 or more; choose a divisor"
        )
    if norm.strategy not in ("auto", "split") and _is_chosen(config, "norm", "num_groups"):
        raise InputError(
            f"norm.num_groups {norm.num_groups}: would do nothing, for norm.strategy {norm.strategy} makes no groups; "
            "leave it out, or give --norm.strategy split"
        )


def rate_note(config: PretrainConfig) -> str:
    """Where the recipe's learning rate is meant for another kind of start, what it would be by MoCo-CXR's rule
    (Sowrirajan et al. 2021): five times as much from a random start as from trained weights. Empty elsewhere."""
    if config.recipe not in RECIPES:
        return ""
    start = RECIPES[config.recipe]()
    is_random, was_random = (each.encoder.weights == "random" for each in (config, start))
    if is_random == was_random or config.optimizer.lr != start.optimizer.lr:
        return ""
    usual, rule = ("a random start", "a fifth") if was_random else ("trained weights", "five times as much")
    rate = config.optimizer.lr * (1 / RANDOM_FACTOR if was_random else RANDOM_FACTOR)
    return (
        f"note: optimizer.lr {config.optimizer.lr:g} of the recipe is meant for {usual}; MoCo-CXR's rule for "
        f"encoder.weights {config.encoder.weights} is {rule}: --optimizer.lr {rate:g}"
    )


def _is_chosen(config: PretrainConfig, section: str, name: str) -> bool:
    """Whether a field is neither at its default nor as the recipe has it, so that somebody must have meant it."""
    start = RECIPES[config.recipe]() if config.recipe in RECIPES else PretrainConfig()
    value, *usual = (getattr(getattr(c, section), name) for c in (config, PretrainConfig(), start))
    return value not in usual


def _check_schedule(config: PretrainConfig, *, world_size: int) -> None:
    schedule, epochs = config.schedule, config.run.epochs
    if schedule.warmup_epochs >= epochs:
        raise InputError(
            f"schedule.warmup_epochs {schedule.warmup_epochs:g}: the run has {epochs} epochs, so the learning rate "
            "would never reach its top; lower it, or raise run.epochs"
        )
    if schedule.name == "step" and not schedule.milestones:
        raise InputError(
            "schedule.milestones: none, so the learning rate would never fall; give epochs, or use schedule.name "
            "constant"
        )
    if schedule.name == "step" and min(schedule.milestones) >= epochs:
        given = " ".join(f"{epoch:g}" for epoch in schedule.milestones)
        raise InputError(
            f"schedule.milestones {given}: the run has {epochs} epochs, so the learning rate would never fall; give "
            "earlier ones, or raise run.epochs, or use schedule.name cosine"
        )
    top = top_rate(config.optimizer, batch=images_per_step(config.run, world_size=world_size))
    if schedule.final_lr > top:
        raise InputError(
            f"schedule.final_lr {schedule.final_lr:g}: above the {top:g} at the top of the schedule; lower it"
        )


def check_rows(config: PretrainConfig, *, num_rows: int, world_size: int, largest_side: int | None = None) -> None:
    """Refuses settings that do not fit ``num_rows`` selected images.

    Args:
        largest_side: the largest of the images' shorter sides as they are stored, in pixels.

    Raises:
        InputError: naming the field, its value and the remedy.
    """
    batch = config.run.batch_size * world_size
    if batch > num_rows:
        raise InputError(
            f"run.batch_size {config.run.batch_size}: {batch} images a step over {world_size} process(es), but only "
            f"{num_rows} images are selected; lower it, or give more data"
        )
    num_batches, accumulated = config.run.epochs * (num_rows // batch), config.run.gradient_accumulation
    if accumulated > num_batches:
        raise InputError(
            f"run.gradient_accumulation {accumulated}: more than the {num_batches} batches of the run, so it would "
            f"make no step; use at most {num_batches}, or raise run.epochs, or lower run.batch_size"
        )
    if has_queue(config.method) and config.method.queue_size > num_rows:
        raise InputError(
            f"method.queue_size {config.method.queue_size}: larger than the {num_rows} images selected, so an image "
            f"would meet itself as a negative; use at most {num_rows}, or give more data"
        )
    if largest_side is not None and config.views.size > largest_side:
        raise InputError(
            f"views.size {config.views.size}: no selected image is stored with more than {largest_side} pixels on its "
            f"shorter side, so views would be blown up; use at most {largest_side}, or build the shards with --size "
            f"{config.views.size}"
        )
