"""One canonical image: 8-bit single channel, size as asked, antialiased, as gray baseline JPEG or PNG.

In: anything Pillow reads (modes L, P, RGB, RGBA, 1, I;16, CMYK ...), whatever the file is called, and DICOM.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from shards.base.dataclass_io import check_fields
from shards.images import jpeg, png
from shards.images.dicom import decode_dicom, is_dicom
from shards.images.gray import ImageError, check_size, to_gray

__all__ = ["ImageError", "ImageSpec", "StoredImage", "store_image"]

# Of bombs, which are refused here, and of odd but readable metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How images are stored.

    ``size`` is the shorter side in pixels; smaller sources keep their size, because enlarging adds bytes and no
    detail. With ``square`` the largest centred square is cut out, and is stored as ``size`` x ``size`` pixels, also
    where that enlarges it: all images then have one size. ``quality`` is JPEG's; it is ignored for PNG.
    """

    size: Annotated[int, Field(ge=8, le=8192, description="in pixels")] = 320
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
    """Encoded bytes with their size and the source's, in pixels."""

    data: bytes
    width: int
    height: int
    source_width: int
    source_height: int


def store_image(data: bytes, spec: ImageSpec) -> StoredImage:
    """Decodes a source image and encodes it as ``spec`` asks; bytes that already are what is asked for pass unchanged.

    Raises:
        ImageError: with reason ``empty``, ``not-an-image``, ``damaged`` (truncated or corrupt), ``too-large`` (a
            decompression bomb), ``too-small``, and for DICOM those of :func:`shards.images.dicom.decode_dicom`.
    """
    if not data:
        raise ImageError("empty", "the file has no bytes")
    if is_dicom(data):
        pixels = decode_dicom(data)
        size = pixels.shape[1], pixels.shape[0]
        return _store(Image.fromarray(pixels), spec, extent=size, source=size)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _store_opened(image, data, spec)
    except UnidentifiedImageError:
        raise ImageError("not-an-image", "no known image format") from None
    except Image.DecompressionBombError as error:
        raise ImageError("too-large", str(error)) from error
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        # Pillow's decoders fail in all these ways on damaged files.
        raise ImageError("damaged", str(error) or type(error).__name__) from error


def _store_opened(image: Image.Image, data: bytes, spec: ImageSpec) -> StoredImage:
    source_size = width, height = image.size
    check_size(width, height)
    if image.format == "PNG":
        png.check_whole(data)
    if image.mode == "L" and spec.stored_size(width, height) == source_size:
        if spec.format == "png" and image.format == "PNG" and png.is_plain(data):
            image.load()  # decodes all of it: what is packed can be read
            return _unchanged(data, source_size)
        if spec.format == "jpeg" and image.format == "JPEG" and jpeg.is_plain(data):
            jpeg.check_whole(data, width=width, height=height)
            return _unchanged(data, source_size)
    # TIFF alone is turned by Pillow, when its pixels are read.
    turn = None if image.format == "TIFF" else _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    if image.format == "JPEG" and image.mode in ("L", "RGB"):
        scale = min(1.0, spec.size / min(width, height))
        pixels, divisor = jpeg.decode_gray(data, width=width, height=height, scale=scale)
        return _store(
            Image.fromarray(pixels), spec, extent=(width / divisor, height / divisor), source=source_size, turn=turn
        )
    gray = to_gray(image)
    return _store(gray, spec, extent=gray.size, source=source_size, turn=turn)


def _unchanged(data: bytes, size: tuple[int, int]) -> StoredImage:
    return StoredImage(data=data, width=size[0], height=size[1], source_width=size[0], source_height=size[1])


def _store(
    gray: Image.Image,
    spec: ImageSpec,
    *,
    extent: tuple[float, float],
    source: tuple[int, int],
    turn: Image.Transpose | None = None,
) -> StoredImage:
    """Sizes, turns and encodes a gray image, which takes up ``extent`` of ``gray`` where it was decoded reduced."""
    size = spec.stored_size(*(gray.size if extent == gray.size else source))
    left, top, right, bottom = 0.0, 0.0, *extent
    if spec.square:
        side = min(extent)
        left, top = (right - side) / 2, (bottom - side) / 2
        right, bottom = left + side, top + side
    if gray.size != size or (left, top, right, bottom) != (0.0, 0.0, *size):
        gray = gray.resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom), reducing_gap=3.0)
    if turn is not None:
        gray = gray.transpose(turn)
    return StoredImage(
        data=_encode(gray, spec),
        width=gray.width,
        height=gray.height,
        source_width=source[0],
        source_height=source[1],
    )


def _encode(gray: Image.Image, spec: ImageSpec) -> bytes:
    buffer = io.BytesIO()
    clean = Image.fromarray(np.asarray(gray))  # without the source's metadata
    if spec.format == "jpeg":
        clean.save(buffer, "JPEG", quality=spec.quality)
    else:
        clean.save(buffer, "PNG")
    return buffer.getvalue()
