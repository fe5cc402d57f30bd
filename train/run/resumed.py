"""What is said of a run that goes on: from where, or that it is at its end; and by which schedule, if it got longer."""

from train.settings.config import PretrainConfig
from train.settings.schedule import learning_rate
from train.trainer import Progress


def resumed_lines(
    config: PretrainConfig, start: Progress, *, num_steps: int, epochs_before: int | None, epoch: float, top_rate: float
) -> list[str]:
    """What is told of a run with a checkpoint; nothing of a new one.

    Args:
        start: where the checkpoint is.
        num_steps: of the whole run.
        epochs_before: how many were asked for when it was last started; None where that is not known.
        epoch: epochs that are done at ``start``.
        top_rate: the learning rate at the top of the schedule.
    """
    epochs, schedule = config.run.epochs, config.schedule
    if not start.step:
        return []
    if start.step >= num_steps:
        return [
            f"finished: all {num_steps} steps of {epochs} epochs are done; to train for longer, repeat the command "
            f"with --run.epochs above {epochs}"
        ]
    lines = [f"continues from step {start.step} of {num_steps} (epoch {epoch:.4g} of {epochs})"]
    if epochs_before is not None and epochs_before < epochs:
        rates = {
            num: learning_rate(schedule, lr=top_rate, epoch=min(epoch, num), num_epochs=num)
            for num in (epochs_before, epochs)
        }
        lines.append(
            f"run.epochs {epochs}, before: {epochs_before}: from here on by the schedule of {epochs} epochs, "
            f"{schedule.name}; learning rate {rates[epochs]:.3g}, where that of {epochs_before} had "
            f"{rates[epochs_before]:.3g}"
        )
        if config.method.momentum_end is not None:
            lines.append("the momentum of the copy rises to its end over the longer run as well")
    return lines
