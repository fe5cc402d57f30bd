"""Which images an encoder holds to be alike: cosines of features, and the vote of the nearest (Wu et al. 2018, arXiv
1805.01978, section 3.4).

Legend: Q queries, N images of the bank, F features, k neighbours.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07  # of the weights
_NUM_COSINES = 50_000_000  # held at once: 200 MB


def cosine_blocks(queries: Tensor, bank: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Cosines (q, N) of features (Q, F) and (N, F), some queries at a time, each behind the slice of its queries."""
    bank = F.normalize(bank.float(), dim=1)
    size = max(1, _NUM_COSINES // len(bank))
    for first in range(0, len(queries), size):
        block = slice(first, first + size)
        yield block, F.normalize(queries[block].float(), dim=1) @ bank.T


def positive_share(cosines: Tensor, labels: Tensor, *, num_neighbours: int, temperature: float) -> Tensor:
    """Share of the positives among the nearest neighbours of each query, (Q,) from 0 to 1, where a neighbour weighs
    ``exp(cosine / temperature)``.

    Args:
        cosines: (Q, N).
        labels: 0 or 1 of the bank, (N,).
        num_neighbours: all of the bank where it has fewer.
    """
    nearest = cosines.topk(min(num_neighbours, len(labels)), dim=1)
    weights = (nearest.values / temperature).softmax(dim=1)  # (Q, k), of sum 1
    return (weights * labels.float()[nearest.indices]).sum(dim=1)


def knn_scores(queries: Tensor, bank: Tensor, labels: Tensor, *, num_neighbours: int, temperature: float) -> Tensor:
    """:func:`positive_share`, (Q,), of features (Q, F) by the labels (N,) of features (N, F)."""
    return torch.cat(
        [
            positive_share(cosines, labels, num_neighbours=num_neighbours, temperature=temperature)
            for _, cosines in cosine_blocks(queries, bank)
        ]
    )
