"""Why an image cannot be packed, and the sizes beyond which none is."""

MAX_PIXELS = 80_000_000  # the largest films are digitised at some 50 megapixels; a bomb claims far more
MIN_SIDE = 8


class ImageError(ValueError):
    """An image that cannot be packed; ``reason`` is its class in ``rejected.parquet``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str]]:
        return ImageError, (self.reason, str(self))


def check_size(width: int, height: int) -> None:
    """Refuses a header that claims more pixels than a radiograph has, before anything is decoded, and what is too small
    to show anything."""
    if width * height > MAX_PIXELS:
        raise ImageError("too-large", f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are decoded")
    if min(width, height) < MIN_SIDE:
        raise ImageError("too-small", f"{width} x {height} pixels; at least {MIN_SIDE} a side are needed")
