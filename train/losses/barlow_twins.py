"""The loss of Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230), and how it sees the other ranks' embeddings.

Legend: B batch per rank, R ranks, N = R * B, D embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def barlow_twins(first: Tensor, second: Tensor, *, redundancy: float) -> Tensor:
    """How far the cross-correlation of two views' embeddings is from the identity (equation 1); a scalar in fp32.

    Args:
        first, second: embeddings (N, D) as the projector gives them, row i of both from one image. Each column is
            standardised over the N rows here.
        redundancy: weight of the D * (D - 1) terms off the diagonal, the paper's lambda.
    """
    first, second = (F.batch_norm(side.float(), None, None, training=True) for side in (first, second))
    correlation = first.T @ second / len(first)  # (D, D)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * off_diagonal


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
