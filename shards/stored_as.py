"""How the images of a selection are stored, which whoever wants others to look alike has to know."""

from collections import Counter

import numpy as np

from shards.base.dataclass_io import from_written
from shards.images.depth import Depth
from shards.images.store import ImageSpec
from shards.index import ShardIndex


def image_spec(images: ShardIndex) -> ImageSpec:
    """How most of the images are stored."""
    ((number, _),) = Counter(images.packed_numbers().tolist()).most_common(1)
    return from_written(ImageSpec, images.packed[number].image, unknown="ignore")


def depth_of(images: ShardIndex) -> Depth:
    """The bits of a gray level of the deepest images among them; 8 of none."""
    return max((images.packed[number].depth for number in np.unique(images.packed_numbers()).tolist()), default=8)
