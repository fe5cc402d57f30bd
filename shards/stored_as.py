"""How the images of a selection are stored, which whoever wants others to look alike has to know."""

from collections import Counter

from shards.base.dataclass_io import from_written
from shards.images.store import ImageSpec
from shards.index import ShardIndex


def image_spec(images: ShardIndex) -> ImageSpec:
    """How most of the images are stored."""
    ((number, _),) = Counter(images.packed_numbers().tolist()).most_common(1)
    return from_written(ImageSpec, images.packed[number].image, unknown="ignore")
