"""Batch norm that does not leak: split into groups inside a rank, replaced by group norm, or of statistics that stay as
they are; or taken over all ranks.

With batch norm over the whole batch, a query and its key share their batch statistics while the negatives in the queue
do not, and the encoder can find the positive by that alone (MoCo, section 3.3). Groups inside a rank, together with
the key shuffle of :mod:`train.methods.momentum.shuffle`, break the link on one device.

Legend: B batch per rank, G groups, C channels.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shards.base.errors import InputError
from train.encoders.sync_norm import SyncBatchNorm1d, SyncBatchNorm2d

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


class FixedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm by its running statistics in training as in evaluation, which leaves them as they are."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from (B, C) on."""

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class SplitBatchNorm1d(SplitBatchNorm):
    """Over (B, C) features."""


class SplitBatchNorm2d(SplitBatchNorm):
    """Over (B, C, H, W) feature maps."""


_SPLIT: dict[type[nn.Module], type[SplitBatchNorm]] = {
    nn.BatchNorm1d: SplitBatchNorm1d,
    nn.BatchNorm2d: SplitBatchNorm2d,
}
_FIXED: dict[type[nn.Module], type[FixedBatchNorm]] = {
    nn.BatchNorm1d: FixedBatchNorm,
    nn.BatchNorm2d: FixedBatchNorm,
}
_SYNC: dict[type[nn.Module], type[nn.modules.batchnorm._BatchNorm]] = {
    nn.BatchNorm1d: SyncBatchNorm1d,
    nn.BatchNorm2d: SyncBatchNorm2d,
}


class _Activated(nn.Module):
    """A norm that holds what follows it, dropout and activation, as timm's ``BatchNormAct2d`` does."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.act(self.drop(super().forward(input)))
        return output


@functools.cache
def _activated(kind: Any) -> type[nn.Module]:
    return type(f"{kind.__name__}Act", (_Activated, kind), {})


def split_batchnorm(module: nn.Module, num_groups: int) -> nn.Module:
    """Turns every batch norm of ``module`` into a :class:`SplitBatchNorm`; in place.

    Raises:
        InputError: a layer takes statistics of the batch and is no batch norm that is known.
    """

    def split(layer: Any) -> nn.Module:
        new = _like(layer, _SPLIT)
        new.num_groups = num_groups
        return new

    return _replace(module, split)


def group_norm(module: nn.Module, num_groups: int = 32) -> nn.Module:
    """Turns every batch norm of ``module`` into an ``nn.GroupNorm`` that keeps weight and bias; in place.

    Group norm looks at one image at a time and so cannot leak, at some loss of accuracy for residual networks. Features
    (B, C), as in a projector, become one group.

    Args:
        num_groups: at most; fewer where the channels do not divide by it into groups of two or more.

    Raises:
        InputError: as :func:`split_batchnorm`.
    """

    def convert(layer: Any) -> nn.Module:
        channels = layer.num_features
        fitting = (groups for groups in range(min(num_groups, channels // 2), 1, -1) if channels % groups == 0)
        groups = 1 if isinstance(layer, nn.BatchNorm1d) else next(fitting, 1)
        new = _kept(layer, nn.GroupNorm)(groups, channels, eps=layer.eps, affine=layer.affine)
        if layer.affine:
            new.load_state_dict({"weight": layer.weight, "bias": layer.bias})
        return _moved(layer, new)

    return _replace(module, convert)


def sync_batchnorm(module: nn.Module) -> nn.Module:
    """Turns every batch norm of ``module`` into a :class:`SyncBatchNorm`; in place. Where a queue holds negatives it
    leaks: a query's key is the one that shares its statistics.

    Raises:
        InputError: as :func:`split_batchnorm`.
    """
    return _replace(module, lambda layer: _like(layer, _SYNC))


def fixed_batchnorm(module: nn.Module) -> nn.Module:
    """Turns every batch norm of ``module`` into a :class:`FixedBatchNorm`; in place. What is normalised by constants
    cannot leak.

    Raises:
        InputError: as :func:`split_batchnorm`.
    """
    return _replace(module, lambda layer: _like(layer, _FIXED))


def has_batch_norm(module: nn.Module) -> bool:
    """Whether any layer takes statistics of the batch."""
    return any(_takes_statistics(layer) for layer in module.modules())


def _takes_statistics(layer: nn.Module) -> bool:
    return isinstance(getattr(layer, "running_var", None), Tensor)


def _like(layer: Any, kinds: dict[type[nn.Module], Any]) -> Any:
    kind = next(new for old, new in kinds.items() if isinstance(layer, old))
    new = _kept(layer, kind)(layer.num_features, eps=layer.eps, momentum=layer.momentum, affine=layer.affine)
    new.load_state_dict({name: value for name, value in layer.state_dict().items() if not name.startswith("act.")})
    return _moved(layer, new)


def _kept(layer: Any, kind: Any) -> Any:
    """``kind``, with the activation that ``layer`` holds, if it holds one."""
    return _activated(kind) if hasattr(layer, "act") else kind


def _moved(layer: Any, new: Any) -> nn.Module:
    if hasattr(layer, "act"):
        new.drop, new.act = layer.drop, layer.act
    moved: nn.Module = new.to(layer.running_mean.device).train(layer.training)
    return moved


def _is_known(layer: nn.Module) -> bool:
    """A batch norm of torch, or one of timm with what follows it."""
    return type(layer) in _SPLIT or (isinstance(layer, tuple(_SPLIT)) and hasattr(layer, "act"))


def _replace(module: nn.Module, convert: Callable[[Any], nn.Module]) -> nn.Module:
    if isinstance(module, FixedBatchNorm):
        return module
    if _is_known(module):
        return convert(module)
    if _takes_statistics(module):
        raise InputError(
            f"norm.strategy: a layer of the network, {type(module).__name__}, takes statistics of the batch that "
            "cannot be split, grouped or exchanged; use another encoder.name, or norm.strategy shuffle with several "
            "processes"
        )
    for name, child in module.named_children():
        setattr(module, name, _replace(child, convert))
    return module
