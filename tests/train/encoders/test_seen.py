"""What pretraining saw is kept with the encoder and found again among test images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards.index import ShardIndex
from shards.packing.build import build_dataset
from shards.packing.config import BuildConfig
from train.encoders.seen import num_seen, trained_on


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("exposure")
    packed = []
    for number, name in enumerate(("one", "two")):
        for split in ("train", "test"):
            folder = root / name / split / "sick"
            folder.mkdir(parents=True)
            for image in range(3):
                level = 40 * number + 9 * image + (split == "test")
                pixels = np.tile(np.arange(level, level + 32, dtype=np.uint8), (32, 1))
                Image.fromarray(pixels).save(folder / f"{split}{image}.png")
        packed.append(root / f"{name}-packed")
        build_dataset(BuildConfig(source="folder", input=root / name, output=packed[-1], size=32, workers=1))
    return packed


def test_test_images_of_a_split_that_was_pretrained_on_are_counted(folders: list[Path]) -> None:
    both = ShardIndex.open(*folders)
    seen = trained_on(both.where(split="train"))
    assert seen == {fingerprint: ["train"] for fingerprint in both.fingerprints}
    assert num_seen(seen, both.where(split="test")) == 0
    assert num_seen(seen, ShardIndex.open(folders[1], folders[0])) == 6  # in whatever order they are opened
    first = ShardIndex.open(folders[0])
    assert trained_on(first) == {first.fingerprints[0]: ["test", "train"]}
    assert num_seen(trained_on(first), both.where(split="test")) == 3
    assert num_seen({}, both) == 0
