import math

import pytest
import torch

from train.positions import are_sincos, sincos_positions


def test_holds_sines_and_cosines_of_row_and_column() -> None:
    num_features, grid = 16, 5
    positions = sincos_positions(num_features, grid)
    assert positions.shape == (1, 1 + grid * grid, num_features)
    assert not positions[0, 0].any()
    for row, column, k in [(0, 0, 0), (3, 1, 0), (4, 2, 3), (1, 4, 2)]:
        token, frequency = positions[0, 1 + row * grid + column], 10_000 ** (-k / 4)
        expected = [f(frequency * place) for place in (row, column) for f in (math.sin, math.cos)]
        assert token[[k, 4 + k, 8 + k, 12 + k]].tolist() == pytest.approx(expected, abs=1e-6)


def test_tells_fixed_from_learned() -> None:
    positions = sincos_positions(16, 5)
    assert are_sincos(positions)
    assert not are_sincos(positions + 0.1 * torch.randn(positions.shape))
    assert not are_sincos(positions[:, :-1])
