"""End-to-end fine-tuning of one cell of a comparison: an encoder and a linear head, trained on one draw.

In one process on one device, or in several that share each batch, each of which has this module for its program
(:mod:`eval.training.launch`). An interrupted cell goes on from its folder's checkpoint, whatever the number of
processes.
"""

from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from pathlib import Path

from eval.classifier.file import save_classifier
from eval.classifier.network import ImageClassifier
from eval.finetune.config import FinetuneConfig
from eval.finetune.model import parameter_groups
from eval.training.engine import resolve_norm, scaleless_precision, synced, train_mode
from eval.training.images import open_images
from eval.training.keeping import KEPT, calibrated, of_training
from eval.training.launch import run_process, run_work
from eval.training.loop import Training, train
from eval.training.task import Trained, TrainingTask, Work, fingerprint
from train.encoders.saved import LoadedEncoder
from train.ranks.world import World


def run_finetune(
    start: LoadedEncoder,
    task: TrainingTask,
    config: FinetuneConfig,
    folder: Path,
    *,
    device: str = "auto",
    title: str = "fine-tuning",
) -> Trained:
    """Fine-tunes a copy of ``start`` with a linear head for all labels of the task.

    Args:
        start: the encoder, its name and the views it was trained on.
        folder, device, title: see :func:`eval.training.launch.run_work`.

    Raises:
        InputError: settings out of range, a label with one class in the draw, an absent device, a loss that is not
            finite, or processes that failed, of which each has said why.
        KeyboardInterrupt: it was asked to stop, and has written a checkpoint.
    """
    config.check()
    task.check()
    work = Work(task=task, start=start, config=config, mark=fingerprint(task, start, config))
    return run_work(work, folder, _finetune, module=__name__, device=device, title=title)


def _finetune(work: Work[FinetuneConfig], folder: Path, *, world: World, title: str) -> Trained:
    config, start = work.config, work.start
    assert start is not None, "images are fine-tuned from some encoder"
    norm = resolve_norm(start.encoder, config.norm)
    precision = scaleless_precision(config.precision, world.device)
    encoder = synced(deepcopy(start.encoder), norm, world)
    model = ImageClassifier(encoder, len(work.task.labels), seed=config.seed).to(world.device)
    with ExitStack() as stack:
        feed, valid, test = open_images(work, precision=precision, world=world, stack=stack)
        training = Training(
            model=model,
            groups=parameter_groups(model, config),
            feed=feed,
            valid=valid,
            test=test,
            to_train_mode=partial(train_mode, norm=norm),
            precision=precision,
        )
        result = train(training, work, folder, world=world, title=title)
        calibration = calibrated(training, work) if config.keep_model else None
    if world.leads and calibration is not None:
        result.details[KEPT] = save_classifier(
            folder,
            model,
            start,
            readout="finetune",
            labels=work.task.labels,
            calibration=calibration,
            **of_training(work),
        )
    result.details["norm"] = norm
    return result


if __name__ == "__main__":
    run_process(_finetune, FinetuneConfig)
