"""Batch norm that does not leak: split into groups inside a rank, or replaced by group norm; or taken over all ranks.

With plain batch norm over the whole batch, a query and its key share their batch statistics while the negatives in
the queue do not, and the encoder can find the positive by that alone (MoCo, section 3.3). Groups inside a rank,
together with the key shuffle of :mod:`train.shuffle`, break the link on one device.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.sync_batchnorm import SyncBatchNorm1d, SyncBatchNorm2d

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
Norm = TypeVar("Norm", bound=nn.modules.batchnorm._BatchNorm)


class SplitBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm with separate statistics for each of ``num_groups`` equal, contiguous parts of the batch.

    In training, part g (samples g*B/G to (g+1)*B/G) is normalised as by an ordinary batch norm of its own, and the
    running statistics move to the mean of the groups' updates. In evaluation it is an ordinary batch norm. Parameters
    and buffers have the names and shapes of an ordinary batch norm, so a state dict converts one to one.

    Cost: none measurable on a CPU; the parts stay contiguous in both memory formats, and one copy joins them.
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
        assert self.momentum is not None
        means = self.running_mean.repeat(self.num_groups, 1)  # (G, C)
        variances = self.running_var.repeat(self.num_groups, 1)
        parts = [
            F.batch_norm(part, mean, variance, self.weight, self.bias, True, self.momentum, self.eps)
            for part, mean, variance in zip(input.chunk(self.num_groups), means, variances, strict=True)
        ]
        with torch.no_grad():
            self.running_mean.copy_(means.mean(dim=0))
            self.running_var.copy_(variances.mean(dim=0))
            self.num_batches_tracked.add_(1)
        return torch.cat(parts)


class SplitBatchNorm1d(SplitBatchNorm):
    """Over (B, C) features."""


class SplitBatchNorm2d(SplitBatchNorm):
    """Over (B, C, H, W) feature maps."""


_SPLIT: dict[type[nn.Module], type[SplitBatchNorm]] = {
    nn.BatchNorm1d: SplitBatchNorm1d,
    nn.BatchNorm2d: SplitBatchNorm2d,
}
_SYNC: dict[type[nn.Module], type[nn.modules.batchnorm._BatchNorm]] = {
    nn.BatchNorm1d: SyncBatchNorm1d,
    nn.BatchNorm2d: SyncBatchNorm2d,
}
_ORDINARY: dict[type[nn.Module], type[BatchNorm]] = {
    SplitBatchNorm1d: nn.BatchNorm1d,
    SplitBatchNorm2d: nn.BatchNorm2d,
    SyncBatchNorm1d: nn.BatchNorm1d,
    SyncBatchNorm2d: nn.BatchNorm2d,
}


def split_batchnorm(module: nn.Module, num_groups: int) -> nn.Module:
    """Turns every batch norm of ``module`` into a :class:`SplitBatchNorm`; in place."""

    def split(layer: Any) -> nn.Module:
        new = _like(layer, _SPLIT[type(layer)])
        new.num_groups = num_groups
        return new

    return _replace(module, tuple(_SPLIT), split)


def ordinary_batchnorm(module: nn.Module) -> nn.Module:
    """Undoes :func:`split_batchnorm` and :func:`sync_batchnorm`, keeping weights and running statistics; in place."""
    return _replace(module, tuple(_ORDINARY), lambda layer: _like(layer, _ORDINARY[type(layer)]))


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
    """Turns every batch norm of ``module`` into one with statistics over all ranks (:mod:`train.sync_batchnorm`); in
    place. Leaks where a queue holds negatives: a query's key is the one that shares its statistics."""
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
