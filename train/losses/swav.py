"""The loss of SwAV (Caron et al. 2020, arXiv 2006.09882): codes by Sinkhorn-Knopp, and their swapped prediction.

Legend: B batch per rank, R ranks, N = R * B, P prototypes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def sinkhorn(scores: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Codes (N, P) of embeddings by their scores (N, P), cosines with the prototypes: soft assignments, each row
    summing to 1, that use all prototypes about equally (section 3.1).

    In logarithms, so that a small ``epsilon`` cannot overflow. No gradient flows through codes.
    """
    log_codes = scores.float() / epsilon
    for _ in range(iterations):
        log_codes = log_codes - log_codes.logsumexp(dim=0, keepdim=True)  # prototypes
        log_codes = log_codes - log_codes.logsumexp(dim=1, keepdim=True)  # images
    return log_codes.exp()


def swapped_prediction(scores: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor], *, temperature: float) -> Tensor:
    """Cross entropy of each view's scores (B, P) against the other view's codes (B, P), averaged over images and both
    directions (equations 1 and 2); a scalar in fp32."""
    first, second = (F.log_softmax(view.float() / temperature, dim=1) for view in scores)
    return -(codes[1] * first + codes[0] * second).sum(dim=1).mean() / 2
