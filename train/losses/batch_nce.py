"""InfoNCE inside a batch, the contrastive loss of MoCo v3. Legend: B batch per rank, R ranks, D embedding."""

import torch
from torch import Tensor

from train.losses.info_nce import Contrast


def batch_nce(query: Tensor, keys: Tensor, *, rank: int, temperature: float) -> Contrast:
    """InfoNCE of this rank's normalised queries (B, D) against the normalised keys of all ranks (R * B, D).

    The key of query i is ``keys[rank * B + i]``; all others are its negatives. The cross entropy is scaled by twice the
    temperature (MoCo v3, algorithm 1), so that gradients, and with them the learning rate that suits, depend less on
    the temperature. Computed in fp32 whatever the inputs.
    """
    logits = query.float() @ keys.float().T / temperature  # (B, R * B)
    labels = torch.arange(len(query), device=query.device) + rank * len(query)
    positive = logits.gather(1, labels[:, None]).squeeze(1)
    loss = 2 * temperature * (logits.logsumexp(dim=1) - positive).mean()
    others = logits.detach().scatter(1, labels[:, None], -torch.inf)
    accuracy = (positive.detach() > others.amax(dim=1)).float().mean()
    return Contrast(loss, accuracy)
