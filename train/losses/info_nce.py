"""InfoNCE, the contrastive loss of MoCo. Legend: B batch, D embedding, K queue."""

from typing import NamedTuple

import torch
from torch import Tensor


class Contrast(NamedTuple):
    """What one contrast gives; both are scalars on the device."""

    loss: Tensor
    accuracy: Tensor
    """Pretext accuracy, 0 to 1: the share of queries whose own key is nearer than every negative."""


def info_nce(
    query: Tensor, key: Tensor, negatives: Tensor, *, temperature: float, masked: Tensor | None = None
) -> Contrast:
    """InfoNCE of normalised queries (B, D) against their keys (B, D) and negatives (K, D), averaged over the batch.

    Equal to the cross entropy of the concatenated logits ``[positive, negative] / temperature`` with the label 0
    (MoCo, equation 1), without building the (B, K + 1) matrix or the labels. Computed in fp32 whatever the inputs.

    Args:
        masked: (B, K) true where a negative is none for that query, such as another image of its patient. A query
            without any negative left has nothing to be told from: its loss and gradient are 0, its key counts as found.
    """
    query, key = query.float(), key.float()
    positive = (query * key).sum(dim=1) / temperature  # (B,)
    negative = query @ negatives.T / temperature  # (B, K)
    if masked is not None:
        negative = negative.masked_fill(masked, -torch.inf)
    loss = (torch.logaddexp(positive, negative.logsumexp(dim=1)) - positive).mean()
    accuracy = (positive.detach() > negative.detach().amax(dim=1)).float().mean()
    return Contrast(loss, accuracy)
