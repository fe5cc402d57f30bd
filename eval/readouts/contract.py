"""What all readouts share: their signature, and the check of what they are given.

Legend: M labelled images, V validation images, N test images, F features, L labels.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from eval.study.cells import Scores
from shards.base.errors import InputError

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.int64]


class Fit(Protocol):
    """A function that learns from labelled features and scores the validation and the test images."""

    def __call__(
        self,
        features_train: Floats,
        labels: Floats,
        patients: Integers,
        features_valid: Floats,
        labels_valid: Floats,
        features_test: Floats,
        /,
    ) -> Scores: ...


def check_features(
    features_train: Floats, labels: Floats, features_valid: Floats, labels_valid: Floats, features_test: Floats
) -> None:
    """Refuses what cannot be learnt from.

    Raises:
        InputError: features of different encoders, features that are not finite, or a label with one class.
    """
    widths = {len(features.T) for features in (features_train, features_valid, features_test) if len(features)}
    if len(widths) > 1:
        raise InputError(
            f"features: {' and '.join(map(str, sorted(widths)))} columns in the sets of one probe, so of different "
            "encoders; compute them with one"
        )
    parts = {"training": features_train, "validation": features_valid, "test": features_test}
    for name, features in parts.items():
        num_bad = len(features) - int(np.isfinite(features.sum(axis=1)).sum()) if len(features) else 0
        if num_bad:
            raise InputError(
                f"features: those of {num_bad} of {len(features)} {name} images are not finite; the encoder's training "
                "diverged, so use an earlier checkpoint or a lower learning rate"
            )
    assert len(features_train) == len(labels)
    assert len(features_valid) == len(labels_valid)
    for number, column in enumerate(labels.T):
        num_negatives, num_positives = int((column == 0).sum()), int((column == 1).sum())
        if not num_negatives or not num_positives:
            raise InputError(
                f"label {number + 1} of {labels.shape[1]}: the draw has {num_positives} positive and {num_negatives} "
                "negative images, but a readout needs both; draw more"
            )
