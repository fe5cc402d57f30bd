"""Few-shot probes: a linear probe of k images a class, each of another patient.

Legend: M drawn images, L labels.
"""

from collections.abc import Sequence

import numpy as np

from eval.draws import LabelledDraw, label_matrix
from eval.protocol import Protocol
from eval.readouts import linear
from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.index import ShardIndex

fit = linear.fit
"""The readout; what makes it few-shot is the draw."""


def few_shot_draw(
    train: ShardIndex, labels: Sequence[str], num_shots: int, *, draw: int, protocol: Protocol
) -> LabelledDraw:
    """Draws ``num_shots`` images of each class of each label, no two of a class and label of one patient.

    ``fraction`` of the result is ``num_shots``. Labels of images that were drawn for another label are NaN, so each
    label has exactly so many. Draws nest: more shots of the same draw hold the fewer.

    Raises:
        InputError: fewer than one shot, an unknown label, or a class with too few patients.
    """
    if num_shots < 1:
        raise InputError(f"--shots {num_shots}: must be at least 1")
    values, patients = label_matrix(train, labels, protocol.uncertain), train.patients()
    chosen = np.full_like(values, np.nan)
    for number, name in enumerate(labels):
        is_positive = values[:, number] == 1
        has_positive = np.isin(patients, patients[is_positive])
        # Patients with images of both classes serve as positives only, so that draws nest.
        members = {"positive": is_positive, "negative": (values[:, number] == 0) & ~has_positive}
        for kind, (word, of_class) in zip((1, 0), members.items(), strict=True):
            order = generator(f"few-shot {name}", protocol.seed, draw, kind).permutation(np.flatnonzero(of_class))
            first = order[np.sort(np.unique(patients[order], return_index=True)[1])]  # one image a patient, in order
            if len(first) < num_shots:
                raise InputError(
                    f"--shots {num_shots}: the training set has only {len(first)} patients with {word} images of "
                    f"{name!r} to draw from; give at most as many"
                )
            chosen[first[:num_shots], number] = kind
    is_drawn = np.isfinite(chosen).any(axis=1)
    return LabelledDraw(
        fraction=float(num_shots),
        draw=draw,
        rows=train.rows[is_drawn],
        labels=chosen[is_drawn],
        patients=patients[is_drawn],
        is_extended=False,
    )
