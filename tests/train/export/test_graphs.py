import pytest
import torch
from torch import nn

from shards.base.errors import InputError
from train.export.graphs import _compare, program_bytes


class Both(nn.Module):
    """Views to their mean and their largest pixel."""

    def forward(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return views.mean(dim=(2, 3)), views.amax(dim=(2, 3))


def test_a_graph_that_gives_something_else_is_refused() -> None:
    views = torch.rand(3, 1, 8, 8)
    mean, largest = Both()(views)
    _compare("onnx", Both(), views, [mean, largest], ["mean", "largest"])
    for found in ([mean, largest + 0.01], [mean, largest[:2]]):
        with pytest.raises(InputError, match="--format onnx: the graph gives other largest than torch"):
            _compare("onnx", Both(), views, found, ["mean", "largest"])


def test_what_torch_cannot_export_is_one_line() -> None:
    class Branching(nn.Module):
        def forward(self, views: torch.Tensor) -> torch.Tensor:
            return views if views.sum().item() > 0 else -views

    with pytest.raises(InputError, match="--format pt2: torch cannot export this network .*; use onnx") as caught:
        program_bytes(Branching(), size=8, outputs=["views"], about={})
    assert "\n" not in str(caught.value)
