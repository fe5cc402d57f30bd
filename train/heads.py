"""The small networks behind an encoder that are thrown away after pretraining: projectors and predictors."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(widths: Sequence[int], *, norm: bool, last_norm: bool) -> nn.Sequential:
    """Linear layers from ``widths[0]`` to ``widths[-1]`` with ReLU between them.

    A layer has a bias only where no batch norm follows, which would take it away again.

    Args:
        norm: a batch norm behind each layer but the last.
        last_norm: a batch norm without scale and shift behind the last layer, as in MoCo v3 (Chen et al. 2021).
    """
    layers: list[nn.Module] = []
    last = len(widths) - 2
    for i, (before, after) in enumerate(pairwise(widths)):
        has_norm = last_norm if i == last else norm
        layers.append(nn.Linear(before, after, bias=not has_norm))
        if has_norm:
            layers.append(nn.BatchNorm1d(after, affine=i < last))
        if i < last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
