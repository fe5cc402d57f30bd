"""One canonical image: single channel, size as asked, antialiased, as gray baseline JPEG or PNG.

In: whatever :mod:`shards.images.decode` reads.
"""

import io
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from shards.base.bounds import Side
from shards.base.dataclass_io import check_fields
from shards.base.errors import InputError
from shards.format.boxes import Box
from shards.images import jpeg, png
from shards.images.decode import Decoded, decode_image
from shards.images.depth import Depth, brightest
from shards.images.fingerprint import SIDE, thumbnail
from shards.images.gray import as_levels
from shards.images.refusal import ImageError, check_size

__all__ = ["ImageError", "ImageSpec", "StoredImage", "store_image"]

_SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How images are stored.

    ``size`` is the shorter side in pixels; smaller sources keep their size, because enlarging adds bytes and no
    detail. With ``square`` the largest centred square is cut out, and is stored as ``size`` x ``size`` pixels, also
    where that enlarges it: all images then have one size. ``quality`` is JPEG's; it is ignored for PNG.
    ``depth`` is the bits of a level: 8, or 16 in PNG.
    """

    size: Side = 320
    square: bool = False
    format: Literal["jpeg", "png"] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    depth: Depth = field(default=8, repr=False)  # what was packed before there were 16 keeps its digest

    def __post_init__(self) -> None:
        check_fields(self, "--")
        if self.depth == 16 and self.format == "jpeg":
            raise InputError("--depth 16: JPEG holds 8 bits a pixel; give --format png")

    @property
    def extension(self) -> str:
        """Extension of the samples in the tar, without the dot."""
        return "jpg" if self.format == "jpeg" else "png"

    def stored_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that an upright image of this size is stored with."""
        if self.square:
            return self.size, self.size
        scale = min(1.0, self.size / min(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """Encoded bytes with their size and the source's, in pixels, and the picture's
    :func:`shards.images.fingerprint.thumbnail`; ``source_hash`` of the source's bytes, and ``boxes`` in stored
    pixels, are for who packs to fill in. ``is_on_its_side``: the source's rows are columns here, by its metadata."""

    data: bytes
    width: int
    height: int
    source_width: int
    source_height: int
    thumbnail: bytes
    source_hash: int | None = None
    is_on_its_side: bool = False
    boxes: tuple[Box, ...] | None = None


def store_image(data: bytes, spec: ImageSpec) -> StoredImage:
    """Decodes a source image and encodes it as ``spec`` asks; bytes that already are what is asked for pass unchanged.

    Raises:
        ImageError: with the reasons of :func:`shards.images.decode.decode_image`, and ``blank`` for an image of one
            gray level.
    """
    kind = jpeg if spec.format == "jpeg" else png
    size = jpeg.plain_size(data) if spec.format == "jpeg" else png.plain_size(data, spec.depth)
    is_stored_form = size is not None and 0 not in size and size == spec.stored_size(*size)
    if size is None or not is_stored_form or not kind.ends_alone(data):
        return _store(decode_image(data, shorter=spec.size, depth=spec.depth), spec)
    picture = _plain_picture(data, size, spec)
    if isinstance(picture, Decoded):
        return _store(picture, spec)
    return StoredImage(
        data=data,
        width=size[0],
        height=size[1],
        source_width=size[0],
        source_height=size[1],
        thumbnail=thumbnail(picture),
    )


def _plain_picture(data: bytes, size: tuple[int, int], spec: ImageSpec) -> Image.Image | Decoded:
    """Decodes a file that is to pass as it is: what is packed can be read, and shows something. Returns the picture,
    which may be reduced as far as fingerprints allow; or what is to be stored in its place, where 16 bits hold levels
    of fewer."""
    if spec.format == "jpeg":
        check_size(*size)
        reduced = jpeg.check_whole(data, width=size[0], height=size[1], shorter=SIDE)
        if reduced.min() < reduced.max():
            return Image.fromarray(reduced)
    decoded = decode_image(data, shorter=spec.size, depth=spec.depth)  # a fine pattern may be even where it is reduced
    levels = as_levels(decoded.gray)
    _check_shown(levels, spec)
    return decoded if spec.depth == 16 and not np.array_equal(levels, png.samples(data)) else decoded.gray


def _store(decoded: Decoded, spec: ImageSpec) -> StoredImage:
    """Sizes, turns and encodes a picture."""
    gray, extent = decoded.gray, decoded.extent
    size = spec.stored_size(*decoded.size)
    left, top, right, bottom = 0.0, 0.0, *extent
    if spec.square:
        side = min(extent)
        left, top = (right - side) / 2, (bottom - side) / 2
        right, bottom = left + side, top + side
    if gray.size != size or (left, top, right, bottom) != (0.0, 0.0, *size):
        gray = gray.resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom), reducing_gap=3.0)
    if decoded.turn is not None:
        gray = gray.transpose(decoded.turn)
    levels = as_levels(gray)
    _check_shown(levels, spec)
    return StoredImage(
        data=_encode(levels, spec),
        width=gray.width,
        height=gray.height,
        source_width=decoded.size[0],
        source_height=decoded.size[1],
        thumbnail=thumbnail(gray),
        is_on_its_side=decoded.turn in _SIDEWAYS,
    )


def _check_shown(levels: np.ndarray, spec: ImageSpec) -> None:
    low, high = int(levels.min()), int(levels.max())
    if low == high:
        raise ImageError("blank", f"all of the image is of one gray level ({low} of {brightest(spec.depth)})")


def _encode(levels: np.ndarray, spec: ImageSpec) -> bytes:
    buffer = io.BytesIO()
    clean = Image.fromarray(levels)  # without the source's metadata
    if spec.format == "jpeg":
        clean.save(buffer, "JPEG", quality=spec.quality)
    else:
        clean.save(buffer, "PNG")
    return buffer.getvalue()
