"""Why an image cannot be packed, and the sizes beyond which none is."""

from shards.base.words import as_size
from shards.sandbox.sandbox import Limits, Lost

MAX_PIXELS = 80_000_000  # the largest films are digitised at some 50 megapixels; a bomb claims far more
MIN_SIDE = 8
HANGS = "decoder-hangs"


class ImageError(ValueError):
    """An image that cannot be packed; ``reason`` is its class in ``rejected.parquet``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str]]:
        return ImageError, (self.reason, str(self))


def of_lost(lost: Lost, limits: Limits) -> ImageError:
    """Why a file cannot be packed that was never decoded within ``limits``."""
    if lost.kind == "seconds":
        return ImageError(HANGS, f"not decoded after {limits.seconds:g} s of computing: the file is damaged")
    if lost.kind == "memory":
        most = as_size(limits.memory_bytes)
        return ImageError("too-much-memory", f"decoding takes more than {most} of memory: the file is damaged")
    return ImageError("decoder-died", f"decoding crashes ({lost.how}): the file is damaged")


def check_size(width: int, height: int) -> None:
    """Refuses a header that claims more pixels than a radiograph has, before anything is decoded, and what is too small
    to show anything."""
    if width * height > MAX_PIXELS:
        raise ImageError("too-large", f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are decoded")
    if min(width, height) < MIN_SIDE:
        raise ImageError("too-small", f"{width} x {height} pixels; at least {MIN_SIDE} a side are needed")
