import pytest
import torch
from torch import nn

from train.heads import mlp

LINEAR, NORM, RELU = nn.Linear, nn.BatchNorm1d, nn.ReLU


@pytest.mark.parametrize(
    ("norm", "last_norm", "expected"),
    [
        (False, False, [LINEAR, RELU, LINEAR, RELU, LINEAR]),
        (True, False, [LINEAR, NORM, RELU, LINEAR, NORM, RELU, LINEAR]),
        (True, True, [LINEAR, NORM, RELU, LINEAR, NORM, RELU, LINEAR, NORM]),
    ],
)
def test_layers_and_widths(norm: bool, last_norm: bool, expected: list[type]) -> None:
    head = mlp([3, 5, 7, 4], norm=norm, last_norm=last_norm)
    assert [type(layer) for layer in head] == expected
    assert [(m.in_features, m.out_features) for m in head if isinstance(m, LINEAR)] == [(3, 5), (5, 7), (7, 4)]
    assert head(torch.randn(6, 3)).shape == (6, 4)


def test_a_bias_is_where_no_batch_norm_follows() -> None:
    head = mlp([3, 5, 4], norm=True, last_norm=False)
    assert [m.bias is not None for m in head if isinstance(m, LINEAR)] == [False, True]


def test_the_last_batch_norm_has_no_scale_and_shift() -> None:
    head = mlp([3, 5, 4], norm=True, last_norm=True)
    assert [m.affine for m in head if isinstance(m, NORM)] == [True, False]
    embeddings = head(torch.randn(64, 3))
    torch.testing.assert_close(embeddings.mean(dim=0), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(embeddings.var(dim=0, correction=0), torch.ones(4), atol=1e-2, rtol=0)
