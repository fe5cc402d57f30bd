"""Fixed position embeddings of vision transformers, as MoCo v3 has them (Chen et al. 2021, arXiv 2104.02057)."""

import torch
from torch import Tensor


def sincos_positions(num_features: int, grid: int) -> Tensor:
    """Sines and cosines of the row, then of the column, (1, 1 + grid * grid, num_features); zeros for the class token.

    Args:
        num_features: a multiple of 4.
        grid: patches along a side.
    """
    quarter = num_features // 4
    frequencies = 10_000.0 ** -(torch.arange(quarter, dtype=torch.float32) / quarter)
    angles = torch.arange(grid, dtype=torch.float32)[:, None] * frequencies  # (grid, quarter)
    side = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, num_features / 2)
    rows, columns = side.repeat_interleave(grid, dim=0), side.repeat(grid, 1)
    patches = torch.cat([rows, columns], dim=1)
    return torch.cat([torch.zeros(1, num_features), patches])[None]


def are_sincos(positions: Tensor) -> bool:
    """Whether a position embedding (1, 1 + N, F) is the fixed one."""
    _, tokens, num_features = positions.shape
    grid = round((tokens - 1) ** 0.5)
    if grid * grid != tokens - 1 or num_features % 4:
        return False
    return torch.allclose(positions.float(), sincos_positions(num_features, grid), atol=1e-2)
