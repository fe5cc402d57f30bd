"""What is kept of a training beside its weights: the calibration on its validation images, and what it was trained on.

Legend: L labels.
"""

from typing import Any

import numpy as np

from eval.classifier.calibration import Calibration, calibrate
from eval.classifier.kept import trained_on
from eval.training.loop import Training, positive_weights
from eval.training.task import Config, Work
from shards.stored_as import image_spec
from train.encoders.seen import Seen, seen_in, united

KEPT = "kept"
"""Of a cell's details: the digest of the file of its classifier, where one is kept."""


def calibrated(training: Training, work: Work[Config]) -> Calibration:
    """The calibration of the model as it is; all ranks call it together.

    Raises:
        InputError: its scores are not finite.
    """
    task = work.task
    logits = training.valid(training.model, len(task.labels))  # of these weights, whatever checkpoints are averaged
    shifts = np.zeros(len(task.labels))
    if work.config.class_weights == "balanced":
        shifts = np.log(positive_weights(task.train_labels))
    return calibrate(logits, task.valid_labels, shifts.tolist())


def of_training(work: Work[Config]) -> dict[str, Any]:
    """``image`` and ``trained`` of :class:`eval.classifier.file.About`, and ``seen`` of an encoder that was trained on
    these images."""
    task = work.task
    images = task.select(task.train_rows)
    trained = trained_on(images, fraction=task.fraction, num_valid=len(task.valid_rows))
    before = Seen() if work.start is None else work.start.seen
    return {"image": image_spec(images), "trained": trained, "seen": united(before, seen_in(images))}
