"""The learning rate as a function of the batch and of the epoch: nothing to save, nothing to resume."""

import math

from train.settings.config import OptimizerConfig, PretrainConfig, RunConfig, ScheduleConfig
from train.settings.recipes import RANDOM_FACTOR, RECIPES


def images_per_step(run: RunConfig, *, world_size: int) -> int:
    """Images behind one optimiser step: over all processes and accumulated batches."""
    return run.batch_size * world_size * run.gradient_accumulation


def top_rate(optimizer: OptimizerConfig, *, batch: int) -> float:
    """The learning rate at the top of the schedule for ``batch`` images a step.

    Linear: Goyal et al. 2017 (arXiv 1706.02677), for sgd and lars. Root: Krizhevsky 2014 (arXiv 1404.5997), for adam.
    """
    match optimizer.scaling:
        case "linear":
            return optimizer.lr * batch / optimizer.base_batch
        case "sqrt":
            return optimizer.lr * math.sqrt(batch / optimizer.base_batch)
    return optimizer.lr


def describe_rate(optimizer: OptimizerConfig, *, batch: int) -> str:
    """One line: the rate at the top, and the base rate, rule and batch that it comes from."""
    top = f"learning rate {top_rate(optimizer, batch=batch):.6g} at the top of the schedule"
    factor = f"{batch} / {optimizer.base_batch} images a step"
    match optimizer.scaling:
        case "linear":
            return f"{top} = optimizer.lr {optimizer.lr:g} x {factor} (linear scaling)"
        case "sqrt":
            return f"{top} = optimizer.lr {optimizer.lr:g} x root of {factor} (sqrt scaling)"
    return f"{top} = optimizer.lr {optimizer.lr:g}, with {batch} images a step (no scaling)"


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


def learning_rate(schedule: ScheduleConfig, *, lr: float, epoch: float, num_epochs: int) -> float:
    """Learning rate at a fractional epoch, 0 <= epoch < num_epochs, from ``lr`` at the top."""
    if epoch < schedule.warmup_epochs:
        return lr * epoch / schedule.warmup_epochs
    match schedule.name:
        case "step":
            fallen = lr * schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
            return max(fallen, schedule.final_lr)
        case "cosine":
            progress = (epoch - schedule.warmup_epochs) / max(num_epochs - schedule.warmup_epochs, 1e-9)
            return schedule.final_lr + (lr - schedule.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))
    return lr
