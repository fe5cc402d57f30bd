"""Embeddings of all ranks as one batch, for losses over more than a rank's own images.

Legend: B batch per rank, R ranks, D embedding.
"""

import torch
from torch import Tensor

from train.ranks.world import World


def of_all_ranks(own: Tensor, world: World) -> Tensor:
    """The ranks' tensors (B, D) as one (R * B, D) in rank order, with the gradient of :func:`with_gradient`. Costs an
    all-gather."""
    return with_gradient(own, world.gather(own.detach()), rank=world.rank)


def with_gradient(own: Tensor, everyone: Tensor, *, rank: int) -> Tensor:
    """``everyone`` (R * B, D), gathered without gradient, with this rank's share replaced by ``own`` (B, D).

    A loss of the result is the same on each rank, but only the gradient of the rank's own share flows. DeepSpeed then
    averages over ranks where those R shares should be summed, so the gradient is multiplied by R: trained this way, R
    ranks of B images are one process of R * B.
    """
    size = len(own)
    num_ranks = len(everyone) // size
    scaled = own.detach() + num_ranks * (own - own.detach())  # the value of ``own`` to the bit, R times its gradient
    return torch.cat([everyone[: rank * size], scaled, everyone[(rank + 1) * size :]])
