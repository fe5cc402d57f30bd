"""Settings that fit, made of some that do not: as near to what was asked for as goes, all of them together."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from shards.base.dataclass_io import differing_fields, to_mapping
from train.settings.architectures import ENCODERS
from train.settings.config import PretrainConfig, has_queue, norm_strategy
from train.settings.faults import Rows, keys_of_step, unread
from train.settings.methods import METHODS
from train.settings.recipes import RECIPES
from train.settings.schedule import images_per_step, top_rate

_STEPS_AN_EPOCH = 8  # at least, where the batch has to shrink
_WARM_UP = 0.1  # share of the run, as of 100 epochs in most papers
_FALLS = (0.6, 0.9)  # shares of the run, as in MoCo-CXR


def fitted(config: PretrainConfig, *, world_size: int, rows: Rows | None = None) -> PretrainConfig:
    """The settings with other values where they do not fit one another or the selected images. What has no one remedy,
    such as a name that is unknown or a dataset that is missing, stays as it is."""
    config = _without_unread(config)
    config = _with_norm(config, world_size)
    config = _with_batch(config, world_size, rows)
    config = _with_groups(config, world_size)
    config = _with_queue(config, world_size, rows)
    config = _with_schedule(config, world_size, rows)
    return _with_views(config, rows)


def changes(before: PretrainConfig, after: PretrainConfig) -> dict[str, str]:
    """The fields in which two differ, as in ``run.epochs``, with the second's values as a command line has them."""
    return dict(_changes(before, after))


def _changes(before: PretrainConfig, after: PretrainConfig) -> Iterator[tuple[str, str]]:
    values = to_mapping(after)
    for name in differing_fields(before, after):
        section, _, field = name.partition(".")
        value = values[section][field]
        yield name, " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _with(config: PretrainConfig, section: str, **fields: Any) -> PretrainConfig:
    return replace(config, **{section: replace(getattr(config, section), **fields)})


def _without_unread(config: PretrainConfig) -> PretrainConfig:
    start = RECIPES[config.recipe]() if config.recipe in RECIPES else PretrainConfig()
    for section, name, _ in unread(config):
        config = _with(config, section, **{name: getattr(getattr(start, section), name)})
    if config.optimizer.name == "lars" and config.run.zero_stage:
        config = _with(config, "run", zero_stage=0)
    method = config.method
    if config.views.small_crops and (not METHODS[method.name].takes_small_crops or config.loader.positives != "image"):
        config = _with(config, "views", small_crops=0)
    if (method.teacher_temperature_end is None) != (method.teacher_warmup_epochs == 0):
        config = _with(config, "method", teacher_temperature_end=None, teacher_warmup_epochs=0.0)
    if method.freeze_prototypes_epochs >= config.run.epochs:
        config = _with(config, "method", freeze_prototypes_epochs=0.0)
    end = config.method.momentum_end
    if end is not None and end < config.method.momentum:
        config = _with(config, "method", momentum_end=config.method.momentum)
    return config


def _with_norm(config: PretrainConfig, world_size: int) -> PretrainConfig:
    """``auto`` in place of what would leak, or has nothing to deal out; no statistics kept where there are none."""
    strategy = norm_strategy(config, world_size)
    if config.encoder.weights == "random" or strategy == "group":
        config = _with(config, "norm", keep_statistics=False)
    leaks = has_queue(config.method) and strategy in ("sync", "plain")
    deals_in_vain = strategy == "shuffle" and (world_size == 1 or not has_queue(config.method))
    return _with(config, "norm", strategy="auto") if leaks or deals_in_vain else config


def _with_batch(config: PretrainConfig, world_size: int, rows: Rows | None) -> PretrainConfig:
    """So many images that an epoch has some steps, and a queue within the images holds one step's keys."""
    if rows is None:
        return config
    batch = config.run.batch_size
    keys = keys_of_step(config, world_size=world_size) if has_queue(config.method) else batch * world_size
    if max(keys, batch * world_size) <= rows.num:
        return config
    most = rows.num * batch // keys
    return _with(config, "run", batch_size=min(max(_power_of_two(most // _STEPS_AN_EPOCH), 4), max(most, 2)))


def _with_groups(config: PretrainConfig, world_size: int) -> PretrainConfig:
    """A divisor of the batch; of a batch that has none, the next smaller one that has."""
    batch, most = config.run.batch_size, config.norm.num_groups
    if norm_strategy(config, world_size) != "split":
        return config
    for smaller in range(batch, 3, -1):
        for groups in range(min(most, smaller // 2), 1, -1):
            if smaller % groups == 0:
                return _with(_with(config, "run", batch_size=smaller), "norm", num_groups=groups)
    return config


def _with_queue(config: PretrainConfig, world_size: int, rows: Rows | None) -> PretrainConfig:
    """A power of two, if one lies between the keys of a step and the images."""
    queue, keys = config.method.queue_size, keys_of_step(config, world_size=world_size)
    if not has_queue(config.method):
        return config
    if rows is not None and queue > rows.num:
        below = _power_of_two(rows.num)
        return _with(config, "method", queue_size=below if below >= keys else rows.num)
    if queue < keys:
        above = 2 * _power_of_two(keys - 1)
        return _with(config, "method", queue_size=above if rows is None or above <= rows.num else keys)
    return config


def _with_schedule(config: PretrainConfig, world_size: int, rows: Rows | None) -> PretrainConfig:
    epochs, schedule, run = config.run.epochs, config.schedule, config.run
    if schedule.warmup_epochs >= epochs:
        config = _with(config, "schedule", warmup_epochs=round(_WARM_UP * epochs, 3))
    if schedule.name == "step" and min(schedule.milestones, default=epochs) >= epochs:
        config = _with(config, "schedule", milestones=tuple(round(share * epochs, 3) for share in _FALLS))
    if rows is not None:
        num_batches = epochs * (rows.num // (run.batch_size * world_size))
        if 0 < num_batches < run.gradient_accumulation:
            config = _with(config, "run", gradient_accumulation=num_batches)
    if schedule.final_lr > top_rate(config.optimizer, batch=images_per_step(config.run, world_size=world_size)):
        config = _with(config, "schedule", final_lr=0.0)
    return config


def _with_views(config: PretrainConfig, rows: Rows | None) -> PretrainConfig:
    """No larger than what is stored, in whole patches."""
    encoder, size = config.encoder.name, config.views.size
    patch = ENCODERS[encoder].patch_size if encoder in ENCODERS else 1
    if rows is not None and rows.largest_side is not None:
        size = min(size, rows.largest_side)
    size = max(size // patch, 1) * patch
    if size < 8:
        return config
    views = config.views
    if views.small_crops:
        small = max(views.small().size * size // views.size // patch, 1) * patch
        return _with(config, "views", size=size, small_size=small if views.small_size or patch > 1 else None)
    return _with(config, "views", size=size)


def _power_of_two(most: int) -> int:
    """The largest that is not above ``most``; 1 where there is none."""
    return 1 << max(most.bit_length() - 1, 0)
