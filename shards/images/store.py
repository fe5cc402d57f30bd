"""One canonical image: 8-bit single channel, size as asked, antialiased, as gray baseline JPEG or PNG.

In: whatever :mod:`shards.images.decode` reads.
"""

import io
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from shards.base.bounds import Side
from shards.base.dataclass_io import check_fields
from shards.format.boxes import Box
from shards.images import jpeg, png
from shards.images.decode import Decoded, decode_image
from shards.images.fingerprint import SIDE, thumbnail
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
    """

    size: Side = 320
    square: bool = False
    format: Literal["jpeg", "png"] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 95

    def __post_init__(self) -> None:
        check_fields(self, "--")

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
    size = kind.plain_size(data)
    is_stored_form = size is not None and 0 not in size and size == spec.stored_size(*size)
    if size is None or not is_stored_form or not kind.ends_alone(data):
        return _store(decode_image(data, shorter=spec.size), spec)
    return StoredImage(
        data=data,
        width=size[0],
        height=size[1],
        source_width=size[0],
        source_height=size[1],
        thumbnail=thumbnail(_check_plain(data, size, spec)),
    )


def _check_plain(data: bytes, size: tuple[int, int], spec: ImageSpec) -> Image.Image:
    """Decodes a file that is to pass as it is: what is packed can be read, and shows something. Returns the picture,
    which may be reduced as far as fingerprints allow."""
    if spec.format == "jpeg":
        check_size(*size)
        reduced = jpeg.check_whole(data, width=size[0], height=size[1], shorter=SIDE)
        if reduced.min() < reduced.max():
            return Image.fromarray(reduced)
    gray = decode_image(data, shorter=spec.size).gray  # a fine pattern may be even where it is reduced
    _check_shown(gray)
    return gray


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
    _check_shown(gray)
    if decoded.turn is not None:
        gray = gray.transpose(decoded.turn)
    return StoredImage(
        data=_encode(gray, spec),
        width=gray.width,
        height=gray.height,
        source_width=decoded.size[0],
        source_height=decoded.size[1],
        thumbnail=thumbnail(gray),
        is_on_its_side=decoded.turn in _SIDEWAYS,
    )


def _check_shown(gray: Image.Image) -> None:
    low, high = gray.getextrema()
    if low == high:
        raise ImageError("blank", f"all of the image is of one gray level ({low} of 255)")


def _encode(gray: Image.Image, spec: ImageSpec) -> bytes:
    buffer = io.BytesIO()
    clean = Image.fromarray(np.asarray(gray))  # without the source's metadata
    if spec.format == "jpeg":
        clean.save(buffer, "JPEG", quality=spec.quality)
    else:
        clean.save(buffer, "PNG")
    return buffer.getvalue()
