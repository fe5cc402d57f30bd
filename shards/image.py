"""One canonical image: 8-bit single channel, shorter side as asked, antialiased, as gray baseline JPEG or PNG."""

import io
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from shards.errors import InputError

_ORIENTATION = 0x0112
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How images are stored.

    ``size`` is the shorter side in pixels; smaller sources keep their size, because enlarging adds bytes and no
    detail. ``quality`` is JPEG's; it is ignored for PNG.
    """

    size: int = 320
    format: Literal["jpeg", "png"] = "jpeg"
    quality: int = 95

    def __post_init__(self) -> None:
        if self.size < 8:
            raise InputError(f"--size {self.size}: must be at least 8 pixels")
        if not 1 <= self.quality <= 100:
            raise InputError(f"--quality {self.quality}: must be from 1 to 100")

    @property
    def extension(self) -> str:
        """Extension of the samples in the tar, without the dot."""
        return "jpg" if self.format == "jpeg" else "png"


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """Encoded bytes with their size and the source's, in pixels."""

    data: bytes
    width: int
    height: int
    source_width: int
    source_height: int


class ImageError(ValueError):
    """An image that cannot be packed; ``reason`` is its class in ``rejected.parquet``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def store_image(data: bytes, spec: ImageSpec) -> StoredImage:
    """Decodes a source image and encodes it as ``spec`` asks; bytes that already are what is asked for pass unchanged.

    Raises:
        ImageError: with reason ``empty``, ``not-an-image`` or ``damaged`` (truncated or corrupt).
    """
    if not data:
        raise ImageError("empty", "the file has no bytes")
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _store(image, data, spec)
    except UnidentifiedImageError:
        raise ImageError("not-an-image", "no known image format") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError("damaged", str(error)) from error


def _store(image: Image.Image, data: bytes, spec: ImageSpec) -> StoredImage:
    source_width, source_height = image.size
    turned = image.getexif().get(_ORIENTATION, 1) >= 5
    upright = (source_height, source_width) if turned else (source_width, source_height)
    scale = min(1.0, spec.size / min(upright))
    width, height = (max(1, round(side * scale)) for side in upright)
    if _is_stored_form(image, spec) and (width, height) == image.size:
        image.load()  # decodes all of it: a truncated file must not pass
        encoded = data
    else:
        # libjpeg decodes at 1/2, 1/4 or 1/8 where that still leaves twice the wanted size for the antialiasing filter
        image.draft("L", (2 * max(width, height), 2 * max(width, height)) if scale < 0.5 else image.size)
        gray = ImageOps.exif_transpose(to_gray(image))
        if gray.size != (width, height):
            gray = gray.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
        encoded = _encode(gray, spec)
    return StoredImage(data=encoded, width=width, height=height, source_width=source_width, source_height=source_height)


def _is_stored_form(image: Image.Image, spec: ImageSpec) -> bool:
    if image.mode != "L" or image.getexif() or "comment" in image.info:
        return False  # metadata may name the patient: it is left behind by encoding anew
    if spec.format == "jpeg":
        return image.format == "JPEG" and "progressive" not in image.info
    return image.format == "PNG" and "transparency" not in image.info and not getattr(image, "text", None)


def to_gray(image: Image.Image) -> Image.Image:
    """Any PIL mode to 8-bit gray, EXIF kept. Deep images are scaled by their own bit depth, which is the smallest from
    8 to 16 (or, beyond that, 32) bits that holds their largest value; transparency is dropped."""
    if image.mode not in _DEEP_MODES:
        return image if image.mode == "L" else image.convert("L")
    pixels = np.asarray(image, dtype=np.float64)
    if not np.isfinite(pixels).all():
        raise ValueError("pixels that are not finite numbers")
    top = float(pixels.max(initial=0.0))
    unit = image.mode == "F" and top <= 1.0
    full_scale = 1.0 if unit else 2.0 ** max(8, math.ceil(math.log2(max(top, 1.0) + 1.0))) - 1.0
    gray = Image.fromarray(np.clip(np.rint(pixels * (255.0 / full_scale)), 0, 255).astype(np.uint8))
    gray.info.update(image.info)
    return gray


def _encode(gray: Image.Image, spec: ImageSpec) -> bytes:
    buffer = io.BytesIO()
    clean = Image.frombytes("L", gray.size, gray.tobytes())  # without the source's metadata
    if spec.format == "jpeg":
        clean.save(buffer, "JPEG", quality=spec.quality)
    else:
        clean.save(buffer, "PNG")
    return buffer.getvalue()
