"""Batch norm whose statistics are of all ranks' images together. Legend: B batch per rank, R ranks, C channels."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """As an ordinary batch norm of the batches of all ranks together, forward and backward.

    Parameters and buffers have the names and shapes of an ordinary batch norm, so a state dict converts one to one.
    Running statistics come out equal on all ranks. Gradients of weight and bias are this rank's own sums, as everywhere
    under data parallelism. In evaluation it is an ordinary batch norm.

    ``torch.nn.SyncBatchNorm`` runs on GPUs alone, and there each layer waits for the device, to leave out ranks with
    empty batches. Here the same sums are exchanged on CPUs and GPUs, and nothing is read back. Cost: one all-gather of
    2 C + 1 numbers forward and one all-reduce of 2 C backward.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from (B, C) on."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        mean, variance, count = _statistics(input.detach())
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        output: Tensor = _Normalise.apply(input, self.weight, self.bias, mean, variance, count, self.eps)
        return output


class SyncBatchNorm1d(SyncBatchNorm):
    """Over (B, C) features."""


class SyncBatchNorm2d(SyncBatchNorm):
    """Over (B, C, H, W) feature maps."""


def _statistics(input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), biased variance (C,) and number of values a channel, over all ranks, in fp32.

    Each rank's mean and squared deviations are put together as in Chan et al. 1979: sums of squares would cancel where
    the mean is large.
    """
    variance, mean = torch.var_mean(input.float(), dim=_all_but_channels(input), correction=0)
    count = mean.new_full((1,), input.numel() / input.shape[1])  # filled there: a list would be copied, and waited for
    own = torch.cat([mean, variance, count])  # (2 C + 1,)
    everyone = own.new_empty(dist.get_world_size() * len(own))
    dist.all_gather_into_tensor(everyone, own)
    means, variances, counts = everyone.view(-1, len(own)).split(
        [len(mean), len(mean), 1], dim=1
    )  # (R, C), (R, C), (R, 1)
    total = counts.sum()
    mean = (means * counts).sum(dim=0) / total
    variance = ((variances + (means - mean).square()) * counts).sum(dim=0) / total
    return mean, variance, total


class _Normalise(torch.autograd.Function):
    """Normalises by given statistics; the gradient knows that they came of the inputs of all ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(input, weight, mean, variance, count)
        ctx.eps = eps
        return F.batch_norm(input, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, variance, count = ctx.saved_tensors
        gradient = gradients[0].float()
        shape = [1, -1] + [1] * (input.dim() - 2)
        scale = (variance + ctx.eps).rsqrt()
        normalised = (input.float() - mean.view(shape)) * scale.view(shape)
        dims = _all_but_channels(input)
        own = torch.stack([gradient.sum(dim=dims), (gradient * normalised).sum(dim=dims)])  # (2, C): of bias and weight
        everyone = own.clone()
        dist.all_reduce(everyone)
        along_one, along_normalised = (everyone / count).unbind()
        gradient = gradient - along_one.view(shape) - normalised * along_normalised.view(shape)
        gradient = gradient * (scale if weight is None else scale * weight).view(shape)
        of_bias, of_weight = (None, None) if weight is None else own.unbind()
        return gradient.to(input.dtype), of_weight, of_bias, None, None, None, None


def _all_but_channels(input: Tensor) -> list[int]:
    return [dim for dim in range(input.dim()) if dim != 1]
