"""Weighted nearest neighbours: no training, no setting that is chosen (Wu et al. 2018, arXiv 1805.01978, section 3.4).

Legend: M labelled images (the bank), Q queries, F features, L labels.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eval.readouts.contract import Floats, Integers, check_features
from eval.study.cells import Scores
from shards.base.errors import InputError
from train.encoders.neighbours import TEMPERATURE, cosine_blocks, positive_share

NUM_NEIGHBOURS = 20


def fit(
    features_train: Floats,
    labels: Floats,
    patients: Integers,
    features_valid: Floats,
    labels_valid: Floats,
    features_test: Floats,
    *,
    num_neighbours: int = NUM_NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Scores:
    """Scores validation and test images by the labels of their nearest neighbours in the draw.

    The share ``p`` of the positives among ``k`` neighbours, each weighing ``exp(cosine / temperature)``, is scored as
    the log-odds of ``(k p + 1/2) / (k + 1)``, which are finite where all neighbours agree.

    Args:
        num_neighbours: all labelled images of the draw where it has fewer.
        temperature: of the weights; all neighbours weigh alike where it is large.

    Raises:
        InputError: a setting out of range, or see :func:`eval.readouts.contract.check_features`.
    """
    if num_neighbours < 1:
        raise InputError(f"--neighbours {num_neighbours}: must be at least 1")
    if not temperature > 0:
        raise InputError(f"--temperature {temperature:g}: must be above 0")
    check_features(features_train, labels, features_valid, labels_valid, features_test)
    bank, targets = _tensor(features_train), _tensor(labels)
    valid_scores, test_scores = (
        _log_odds(_tensor(features), bank, targets, num_neighbours, temperature)
        for features in (features_valid, features_test)
    )
    return valid_scores, test_scores, {"num_neighbours": num_neighbours, "temperature": temperature}


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _log_odds(
    queries: Tensor, bank: Tensor, labels: Tensor, num_neighbours: int, temperature: float
) -> npt.NDArray[np.float32]:
    """Scores (Q, L); the cosines are computed once for all labels, a block of queries at a time."""
    scores = torch.empty((len(queries), labels.shape[1]))
    for block, cosines in cosine_blocks(queries, bank):
        for number, column in enumerate(labels.T):
            known = column.isfinite()
            among = cosines if known.all() else cosines[:, known]
            share = positive_share(among, column[known], num_neighbours=num_neighbours, temperature=temperature)
            count = min(num_neighbours, among.shape[1])
            scores[block, number] = ((count * share + 0.5) / (count + 1)).logit()
    return scores.numpy()
