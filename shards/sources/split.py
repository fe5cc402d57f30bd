"""A split for releases that come without one: 65 / 15 / 20 % train / valid / test, as in the MoCo-CXR protocol."""

import numpy as np

from shards.randomness import generator


def draw_splits(num_images: int, *, release: str, label: int) -> list[str]:
    """The split of each of a class's images, drawn once for all by the release's name and the class."""
    names = np.full(num_images, "train", dtype=object)
    order = generator(f"{release} split", label).permutation(num_images)
    num_test, num_valid = round(0.20 * num_images), round(0.15 * num_images)
    names[order[:num_test]] = "test"
    names[order[num_test : num_test + num_valid]] = "valid"
    return list(names)
