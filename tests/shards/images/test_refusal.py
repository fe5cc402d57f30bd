"""Pictures that cannot be packed are refused in words, whatever their headers say."""

import zlib

import pytest
from PIL import Image

from shards.images.store import ImageError, ImageSpec, store_image
from tests.shards.images.pictures import RAMP, encoded


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_no_size_at_all_is_refused(format):
    data = bytearray(encoded(Image.fromarray(RAMP), format))
    start = 16 if format == "PNG" else data.index(b"\xff\xc0") + 5
    data[start : start + 4] = b"\0" * 4
    if format == "PNG":
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4)
    for spec in (ImageSpec(), ImageSpec(format="png")):
        with pytest.raises(ImageError):
            store_image(bytes(data), spec)
