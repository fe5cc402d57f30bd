"""What is wrong with a pretraining run's settings that no single field can tell: each fault in a line, all of them."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shards.base.dataclass_io import check_fields
from shards.base.errors import InputError
from shards.base.words import as_called
from train.settings.architectures import check_name, check_view_size
from train.settings.config import PretrainConfig, has_queue, norm_strategy
from train.settings.deepspeed import read_own_json, without_zero
from train.settings.loggers import check_loggers
from train.settings.methods import METHODS
from train.settings.recipes import RECIPES
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


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What settings must fit of the images that they select: how many there are, and the largest of their shorter sides
    as they are stored, in pixels, where that is known."""

    num: int
    largest_side: int | None = None


def absent(config: PretrainConfig) -> list[str]:
    """What every run needs and is not given, a line each."""
    wrong = []
    if not config.data:
        wrong.append(f"--data: not given; name one or more dataset folders that `{as_called('shards build')}` wrote")
    if config.output is None:
        wrong.append("--output: not given; name a folder for the run")
    return wrong


def beyond(config: PretrainConfig) -> list[str]:
    """The fields whose values are out of their bounds, a line each."""
    return _said(lambda: check_fields(config))


def faults(config: PretrainConfig, *, world_size: int, rows: Rows | None = None) -> Iterator[str]:
    """Each thing that cannot work, or that would silently do something else than what it says, of settings within their
    bounds: the field, its value and the remedy.

    Args:
        rows: what the settings select; without it, only what they say by themselves is looked at.
    """
    if (own := config.run.deepspeed) is not None:
        yield from _said(lambda: read_own_json(own))
    yield from _said(lambda: check_loggers(config.run.log))
    yield from _of_schedule(config, world_size=world_size)
    yield from _said(lambda: check_name(config.encoder.name))
    yield from _said(lambda: check_view_size(config.encoder.name, config.views.size))
    if config.views.small_crops:
        yield from _of_small_crops(config)
    yield from _of_method(config)
    yield from (message for *_, message in unread(config))
    yield from _of_norm(config, world_size=world_size)
    yield from _said(lambda: without_zero(config.optimizer.name, config.run.zero_stage))
    keys = keys_of_step(config, world_size=world_size)
    if has_queue(config.method) and config.method.queue_size < keys:
        yield (
            f"method.queue_size {config.method.queue_size}: smaller than the {keys} keys of one step; "
            "raise it, or lower run.batch_size"
        )
    if rows is not None:
        yield from _of_rows(config, rows, world_size=world_size)


def keys_of_step(config: PretrainConfig, *, world_size: int) -> int:
    """How many keys a step puts into the queue, over all processes."""
    return config.run.batch_size * world_size * (2 if config.method.name == "moco_v2plus" else 1)


def _said(check: Callable[[], object]) -> list[str]:
    """What a check refuses, a line each."""
    try:
        check()
    except InputError as error:
        return str(error).splitlines()
    return []


def _of_small_crops(config: PretrainConfig) -> Iterator[str]:
    number, size = config.views.small_crops, config.views.small().size
    takers = [name for name, entry in METHODS.items() if entry.takes_small_crops]
    if config.method.name not in takers:
        yield (
            f"views.small_crops {number}: {config.method.name} does not learn from them; leave them out, or give "
            f"--method.name {' or '.join(takers)}"
        )
    if config.loader.positives != "image":
        yield (
            f"views.small_crops {number}: loader.positives {config.loader.positives} makes pairs of images; give one "
            "of the two"
        )
    for line in _said(lambda: check_view_size(config.encoder.name, size)):
        yield line.replace("views.size", "views.small_size")


def _of_method(config: PretrainConfig) -> Iterator[str]:
    method, end = config.method, config.method.momentum_end
    if end is not None and not method.momentum <= end <= 1:
        yield (
            f"method.momentum_end {end:g}: method.momentum {method.momentum:g} rises to it; give a value from there to "
            "1, or leave it out"
        )
    warmup, frozen = method.teacher_warmup_epochs, method.freeze_prototypes_epochs
    if (method.teacher_temperature_end is None) != (warmup == 0):
        yield (
            f"method.teacher_warmup_epochs {warmup:g}: goes with method.teacher_temperature_end "
            f"{method.teacher_temperature_end}; give both, or neither"
        )
    if frozen >= config.run.epochs and "freeze_prototypes_epochs" in METHODS[method.name].reads:
        yield (
            f"method.freeze_prototypes_epochs {frozen:g}: the run has {config.run.epochs} epochs, so prototypes would "
            "never learn; lower it, or raise run.epochs"
        )


def unread(config: PretrainConfig) -> Iterator[tuple[str, str, str]]:
    """Section and name of each field that somebody has set though nothing reads it, and what is said of it."""
    method = config.method
    for name in dict.fromkeys(itertools.chain.from_iterable(entry.reads for entry in METHODS.values())):
        users = [other for other, entry in METHODS.items() if name in entry.reads]
        if method.name not in users and _is_chosen(config, "method", name):
            yield (
                "method",
                name,
                f"method.{name} {getattr(method, name)}: would do nothing, for {method.name} has no such thing; leave "
                f"it out, or give --method.name {' or '.join(users)}",
            )
    for (section, name), readers in _READERS.items():
        settings = getattr(config, section)
        if settings.name not in readers and _is_chosen(config, section, name):
            yield (
                section,
                name,
                f"{section}.{name} {getattr(settings, name)}: would do nothing, for {settings.name} does not read it; "
                f"leave it out, or give --{section}.name {' or '.join(readers)}",
            )
    if config.optimizer.scaling == "none" and _is_chosen(config, "optimizer", "base_batch"):
        yield (
            "optimizer",
            "base_batch",
            f"optimizer.base_batch {config.optimizer.base_batch}: would do nothing, for optimizer.scaling is none; "
            "leave it out, or give --optimizer.scaling linear or sqrt",
        )
    norm = config.norm
    if norm.strategy not in ("auto", "split") and _is_chosen(config, "norm", "num_groups"):
        yield (
            "norm",
            "num_groups",
            f"norm.num_groups {norm.num_groups}: would do nothing, for norm.strategy {norm.strategy} makes no groups; "
            "leave it out, or give --norm.strategy split",
        )


def _of_norm(config: PretrainConfig, *, world_size: int) -> Iterator[str]:
    method, norm, run = config.method, config.norm, config.run
    strategy = norm_strategy(config, world_size)
    if strategy == "shuffle" and not METHODS[method.name].has_target:
        yield (
            f"norm.strategy shuffle: deals out the images of the momentum copy, and {method.name} has none; use auto, "
            "sync, plain or group"
        )
    if strategy == "shuffle" and world_size == 1:
        yield (
            "norm.strategy shuffle: does nothing with one process, and batch norm would leak which key belongs to "
            "which query; use split, or start several processes: moco-cxr pretrain ... --num-processes N"
        )
    if strategy in ("sync", "plain") and has_queue(method):
        yield (
            f"norm.strategy {norm.strategy}: with the queue of {method.name}, batch norm would leak which key belongs "
            "to which query; use split, shuffle or group"
        )
    if norm.keep_statistics and config.encoder.weights == "random":
        yield (
            "norm.keep_statistics: encoder.weights random brings no statistics to keep; give other weights, or "
            "--norm.no-keep-statistics"
        )
    if norm.keep_statistics and strategy == "group":
        yield (
            "norm.keep_statistics: norm.strategy group leaves no batch norm whose statistics could be kept; use auto, "
            "or --norm.no-keep-statistics"
        )
    if strategy == "split" and (run.batch_size % norm.num_groups or run.batch_size < 2 * norm.num_groups):
        yield (
            f"norm.num_groups {norm.num_groups}: does not split run.batch_size {run.batch_size} into equal groups of "
            "2 or more; choose a divisor"
        )


def _is_chosen(config: PretrainConfig, section: str, name: str) -> bool:
    """Whether a field is neither at its default nor as the recipe has it, so that somebody must have meant it."""
    start = RECIPES[config.recipe]() if config.recipe in RECIPES else PretrainConfig()
    value, *usual = (getattr(getattr(c, section), name) for c in (config, PretrainConfig(), start))
    return value not in usual


def _of_schedule(config: PretrainConfig, *, world_size: int) -> Iterator[str]:
    schedule, epochs = config.schedule, config.run.epochs
    if schedule.warmup_epochs >= epochs:
        yield (
            f"schedule.warmup_epochs {schedule.warmup_epochs:g}: the run has {epochs} epochs, so the learning rate "
            "would never reach its top; lower it, or raise run.epochs"
        )
    if schedule.name == "step" and not schedule.milestones:
        yield (
            "schedule.milestones: none, so the learning rate would never fall; give epochs, or use schedule.name "
            "constant"
        )
    elif schedule.name == "step" and min(schedule.milestones) >= epochs:
        given = " ".join(f"{epoch:g}" for epoch in schedule.milestones)
        yield (
            f"schedule.milestones {given}: the run has {epochs} epochs, so the learning rate would never fall; give "
            "earlier ones, or raise run.epochs, or use schedule.name cosine"
        )
    top = top_rate(config.optimizer, batch=images_per_step(config.run, world_size=world_size))
    if schedule.final_lr > top:
        yield (f"schedule.final_lr {schedule.final_lr:g}: above the {top:g} at the top of the schedule; lower it")


def _of_rows(config: PretrainConfig, rows: Rows, *, world_size: int) -> Iterator[str]:
    method, run = config.method, config.run
    batch = run.batch_size * world_size
    num_batches = run.epochs * (rows.num // batch)
    if batch > rows.num:
        yield (
            f"run.batch_size {run.batch_size}: {batch} images a step over {world_size} process(es), but only "
            f"{rows.num} images are selected; lower it, or give more data"
        )
    elif run.gradient_accumulation > num_batches:
        yield (
            f"run.gradient_accumulation {run.gradient_accumulation}: more than the {num_batches} batches of the run, "
            f"so it would make no step; use at most {num_batches}, or raise run.epochs, or lower run.batch_size"
        )
    if has_queue(method) and method.queue_size > rows.num:
        yield (
            f"method.queue_size {method.queue_size}: larger than the {rows.num} images selected, so an image would "
            f"meet itself as a negative; use at most {rows.num}, or give more data"
        )
    if rows.largest_side is not None and config.views.size > rows.largest_side:
        yield (
            f"views.size {config.views.size}: no selected image is stored with more than {rows.largest_side} pixels on "
            f"its shorter side, so views would be blown up; use at most {rows.largest_side}, or build the shards with "
            f"--size {config.views.size}"
        )
