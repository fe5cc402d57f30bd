"""Weighted nearest neighbours: no training, no setting that is chosen (Wu et al. 2018, arXiv 1805.01978, section 3.4).

Legend: M labelled images (the bank), Q queries, F features, L labels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eval.readouts.contract import Floats, Integers, Scores, check_features
from shards.base.errors import InputError

NUM_NEIGHBOURS = 20
TEMPERATURE = 0.07
_NUM_COSINES = 50_000_000  # held at once: 200 MB


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
    bank = F.normalize(torch.from_numpy(np.ascontiguousarray(features_train, dtype=np.float32)), dim=1)
    targets = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.float32))
    valid_scores, test_scores = (
        _log_odds(features, bank, targets, num_neighbours, temperature) for features in (features_valid, features_test)
    )
    return valid_scores, test_scores, {"num_neighbours": num_neighbours, "temperature": temperature}


def _log_odds(
    queries: Floats, bank: Tensor, labels: Tensor, num_neighbours: int, temperature: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Scores (Q, L); the cosines are computed once for all labels, a block of queries at a time."""
    scores = torch.empty((len(queries), labels.shape[1]))
    block = max(1, _NUM_COSINES // len(bank))
    for first in range(0, len(queries), block):
        chunk = torch.from_numpy(np.ascontiguousarray(queries[first : first + block], dtype=np.float32))
        cosines = F.normalize(chunk, dim=1) @ bank.T  # (Q, M)
        for number, column in enumerate(labels.T):
            known = column.isfinite()
            among = cosines if known.all() else cosines[:, known]
            nearest = among.topk(min(num_neighbours, among.shape[1]), dim=1)
            weights = (nearest.values / temperature).softmax(dim=1)  # (Q, k), of sum 1
            share = (weights * column[known][nearest.indices]).sum(dim=1)
            count = nearest.indices.shape[1]
            scores[first : first + block, number] = ((count * share + 0.5) / (count + 1)).logit()
    return scores.numpy()
