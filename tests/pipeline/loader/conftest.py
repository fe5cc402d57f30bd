"""The same radiographs, of fractional grey levels, stored with 8 and with 16 bits, and those levels."""

from pathlib import Path

import numpy as np
import pytest

from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import draw_pattern


@pytest.fixture(scope="session")
def depths(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[int, Path], dict[str, np.ndarray]]:
    """The dataset of each depth, and the grey levels 0..255 (H, W) float64 of each image by its path."""
    folder = tmp_path_factory.mktemp("depths")
    (folder / "source" / "train").mkdir(parents=True)
    levels = {}
    for number in range(9):  # of two sizes, an odd number of pixels in all
        pattern = draw_pattern(number, has_blob=number % 2 > 0, width=71 + 2 * (number % 2), height=65)
        fractions = np.random.default_rng(number).uniform(-0.5, 0.5, pattern.shape)
        grey = np.clip(pattern.astype(np.float64) * 0.9 + 12 + fractions, 0, 255)
        grey[0, :2] = 0, 255
        levels[f"train/{number}.npy"] = grey
        np.save(folder / "source" / "train" / f"{number}.npy", grey / 255)
    packed = {}
    for depth in (8, 16):
        packed[depth] = folder / str(depth)
        build_dataset(
            BuildConfig(
                source="folder",
                input=folder / "source",
                output=packed[depth],
                size=65,
                format="png",
                depth=depth,
                workers=1,
            )
        )
    return packed, levels


@pytest.fixture
def index_of(depths):
    """``(*depths) -> ShardIndex`` of these datasets, opened as one."""
    return lambda *wanted: ShardIndex.open(*(depths[0][depth] for depth in wanted))
