"""Batch norm that does not leak: split into groups inside a rank, or replaced by group norm; or taken over all ranks.

With batch norm over the whole batch, a query and its key share their batch statistics while the negatives in the queue
do not, and the encoder can find the positive by that alone (MoCo, section 3.3). Groups inside a rank, together with
the key shuffle of :mod:`train.methods.shuffle`, break the link on one device.

Legend: B batch per rank, R ranks, G groups, C channels.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

Norm = TypeVar("Norm", bound=nn.modules.batchnorm._BatchNorm)


# Values of an input up to which its groups are normalised in one call. It takes two copies: cheaper than the launches
# of a call for each group where the input is small, dearer where it is large.
_CPU_TOGETHER = 2**20
_GPU_TOGETHER = 2**22


class SplitBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm with separate statistics for each of ``num_groups`` equal, contiguous parts of the batch.

    In training, part g (samples g*B/G to (g+1)*B/G) is normalised as by an ordinary batch norm of its own, and the
    running statistics move to the mean of the groups' updates. In evaluation it is an ordinary batch norm. Parameters
    and buffers have the names and shapes of an ordinary batch norm, so a state dict converts one to one.

    A small input is normalised in one call, its groups side by side as G * C channels; a large one part by part. Both
    keep the memory format.
    """

    num_groups: int

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from (B, C) on."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        groups = self.num_groups
        with torch.no_grad():
            running = torch.cat([self.running_mean] * groups + [self.running_var] * groups)
            running = running.view(2, groups, -1)  # mean and variance of each group, (2, G, C)
        together = _CPU_TOGETHER if input.device.type == "cpu" else _GPU_TOGETHER
        output = self._all_at_once(input, running) if input.numel() <= together else self._one_by_one(input, running)
        with torch.no_grad():
            torch._foreach_copy_([self.running_mean, self.running_var], running.mean(dim=1).unbind())
            self.num_batches_tracked.add_(1)
        return output

    def _all_at_once(self, input: Tensor, running: Tensor) -> Tensor:
        affine = [None if each is None else each.repeat(self.num_groups) for each in (self.weight, self.bias)]
        output = self._normalise(_Regroup.apply(input, self.num_groups, True), *running.flatten(1), *affine)
        regrouped: Tensor = _Regroup.apply(output, self.num_groups, False)
        return regrouped

    def _one_by_one(self, input: Tensor, running: Tensor) -> Tensor:
        parts = zip(input.chunk(self.num_groups), *running, strict=True)
        return torch.cat([self._normalise(part, mean, var, self.weight, self.bias) for part, mean, var in parts])

    def _normalise(self, input: Tensor, mean: Tensor, var: Tensor, *affine: Tensor | None) -> Tensor:
        assert self.momentum is not None
        weight, bias = affine
        return F.batch_norm(input, mean, var, weight, bias, True, self.momentum, self.eps)


class _Regroup(torch.autograd.Function):
    """(B, C, ...) to (B / G, G * C, ...), where the channels of group g are g * C to (g + 1) * C; or back.

    One copy, which keeps the memory format. The result is no view, for an in-place ReLU behind a view costs four
    launches more.
    """

    @staticmethod
    def forward(ctx: Any, input: Tensor, num_groups: int, side_by_side: bool) -> Tensor:
        ctx.num_groups, ctx.side_by_side = num_groups, side_by_side
        return _regroup(input, num_groups, side_by_side)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _regroup(gradients[0], ctx.num_groups, not ctx.side_by_side), None, None


def _regroup(input: Tensor, num_groups: int, side_by_side: bool) -> Tensor:
    batch, channels, *space = input.shape
    shape = (
        (batch // num_groups, num_groups * channels) if side_by_side else (batch * num_groups, channels // num_groups)
    )
    output = torch.empty(
        (*shape, *space),
        dtype=input.dtype,
        device=input.device,
        memory_format=torch.channels_last if _is_channels_last(input) else torch.contiguous_format,
    )
    whole, wide = (input, output) if side_by_side else (output, input)
    groups, columns = whole.unflatten(0, (num_groups, -1)), wide.unflatten(1, (num_groups, -1)).transpose(0, 1)
    target, source = (columns, groups) if side_by_side else (groups, columns)  # (G, B / G, C, ...)
    target.copy_(source)
    return output


def _is_channels_last(batch: Tensor) -> bool:
    return batch.dim() == 4 and batch.is_contiguous(memory_format=torch.channels_last) and not batch.is_contiguous()


class SplitBatchNorm1d(SplitBatchNorm):
    """Over (B, C) features."""


class SplitBatchNorm2d(SplitBatchNorm):
    """Over (B, C, H, W) feature maps."""


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


_SPLIT: dict[type[nn.Module], type[SplitBatchNorm]] = {
    nn.BatchNorm1d: SplitBatchNorm1d,
    nn.BatchNorm2d: SplitBatchNorm2d,
}
_SYNC: dict[type[nn.Module], type[nn.modules.batchnorm._BatchNorm]] = {
    nn.BatchNorm1d: SyncBatchNorm1d,
    nn.BatchNorm2d: SyncBatchNorm2d,
}


def split_batchnorm(module: nn.Module, num_groups: int) -> nn.Module:
    """Turns every batch norm of ``module`` into a :class:`SplitBatchNorm`; in place."""

    def split(layer: Any) -> nn.Module:
        new = _like(layer, _SPLIT[type(layer)])
        new.num_groups = num_groups
        return new

    return _replace(module, tuple(_SPLIT), split)


def group_norm(module: nn.Module, num_groups: int = 32) -> nn.Module:
    """Turns every batch norm of ``module`` into an ``nn.GroupNorm`` that keeps weight and bias; in place.

    Group norm looks at one image at a time and so cannot leak, at some loss of accuracy for residual networks. Features
    (B, C), as in a projector, become one group.
    """

    def convert(layer: Any) -> nn.Module:
        groups = 1 if isinstance(layer, nn.BatchNorm1d) else num_groups
        new = nn.GroupNorm(groups, layer.num_features, eps=layer.eps, affine=layer.affine)
        if layer.affine:
            new.load_state_dict({"weight": layer.weight, "bias": layer.bias})
        return new.to(layer.running_mean.device).train(layer.training)

    return _replace(module, tuple(_SPLIT), convert)


def sync_batchnorm(module: nn.Module) -> nn.Module:
    """Turns every batch norm of ``module`` into a :class:`SyncBatchNorm`; in place. Where a queue holds negatives it
    leaks: a query's key is the one that shares its statistics."""
    return _replace(module, tuple(_SYNC), lambda layer: _like(layer, _SYNC[type(layer)]))


def _like(layer: Any, kind: type[Norm]) -> Norm:
    new = kind(layer.num_features, eps=layer.eps, momentum=layer.momentum, affine=layer.affine)
    new.load_state_dict(layer.state_dict())
    return new.to(layer.running_mean.device).train(layer.training)


def _replace(module: nn.Module, kinds: tuple[type[nn.Module], ...], convert: Callable[[Any], nn.Module]) -> nn.Module:
    if isinstance(module, kinds):
        return convert(module)
    for name, child in module.named_children():
        setattr(module, name, _replace(child, kinds, convert))
    return module
