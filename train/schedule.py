"""The learning rate as a function of the epoch: nothing to save, nothing to resume."""

import math

from train.sections import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, *, lr: float, epoch: float, num_epochs: int) -> float:
    """Learning rate at a fractional epoch, 0 <= epoch < num_epochs, from ``lr`` at the top."""
    if epoch < schedule.warmup_epochs:
        return lr * epoch / schedule.warmup_epochs
    match schedule.name:
        case "step":
            return lr * schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
        case "cosine":
            progress = (epoch - schedule.warmup_epochs) / max(num_epochs - schedule.warmup_epochs, 1e-9)
            return lr * 0.5 * (1 + math.cos(math.pi * progress))
    return lr
