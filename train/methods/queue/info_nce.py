"""InfoNCE, the contrastive loss of MoCo. Legend: B batch, D embedding, K queue."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CPU_LOGITS = 2**21  # 8 MB of fp32: stays in the last level of cache
_GPU_LOGITS = 2**24  # 64 MB: few kernel launches, so one slice at K 65,536, B 256


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
    (MoCo, equation 1), without the labels, and with only a slice of the (B, K) logits at a time. Computed in fp32
    whatever the inputs. Queries and keys get gradients, the negatives none.

    Args:
        masked: (B, K) true where a negative is none for that query, such as another image of its patient. A query
            without any negative left has nothing to be told from: its loss and gradient are 0, its key counts as found.
    """
    assert not negatives.requires_grad
    query, key = query.float(), key.float()
    positive = (query * key).sum(dim=1) / temperature  # (B,)
    negative, nearest = _NegativeLogSumExp.apply(query / temperature, negatives.float(), masked)  # (B,), (B,)
    loss = (torch.logaddexp(positive, negative) - positive).mean()
    accuracy = (positive.detach() > nearest).float().mean()
    return Contrast(loss, accuracy)


class _NegativeLogSumExp(torch.autograd.Function):
    """``logsumexp`` and maximum of ``query @ negatives.T`` over the negatives, in one pass over slices of the queue.

    The gradient for the query is the mean of the negatives, weighted by the softmax of the logits. It is a sum over
    the queue like the ``logsumexp``, so the same pass collects both, each scaled anew when a slice raises the maximum
    (Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022). Nothing of size (B, K) is kept for the backward
    pass, which costs a product of (B, D).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, negatives: Tensor, masked: Tensor | None) -> tuple[Tensor, Tensor]:
        size = _CPU_LOGITS if query.device.type == "cpu" else _GPU_LOGITS
        width = min(len(negatives), max(1, size // len(query)))
        space = query.new_empty(len(query) * width)  # one slice of logits after the other: fresh memory costs time
        # Finite from the start, so that a query whose negatives are all masked gives 0, not a difference of infinities.
        highest = query.new_full((len(query), 1), torch.finfo(query.dtype).min)
        total, weighted = query.new_zeros(len(query), 1), torch.zeros_like(query)  # (B, 1), (B, D)
        for start in range(0, len(negatives), width):
            part = negatives[start : start + width]
            logits = space[: len(query) * len(part)].view(len(query), len(part))
            torch.mm(query, part.T, out=logits)
            if masked is not None:
                logits.masked_fill_(masked[:, start : start + width], -torch.inf)
            before, highest = highest, torch.maximum(highest, logits.amax(dim=1, keepdim=True))
            weights, rescale = logits.sub_(highest).exp_(), (before - highest).exp_()
            total.mul_(rescale).add_(weights.sum(dim=1, keepdim=True))
            if ctx.needs_input_grad[0]:
                weighted.mul_(rescale).addmm_(weights, part)
        ctx.save_for_backward(weighted.div_(total.clamp(min=1)))  # a total is 1 or more, or 0 without negatives
        nearest = highest.squeeze(1)
        ctx.mark_non_differentiable(nearest)
        return nearest + total.squeeze(1).log_(), nearest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (mean,) = ctx.saved_tensors
        return gradient[:, None] * mean, None, None
