"""The numbers in the bits of an image: which of the bits are the image's, and whether one is the sign."""

import numpy as np

from shards.images.depth import CUT
from shards.images.dicom.image_pixel import ImagePixel, Raw
from shards.images.refusal import ImageError


def is_signed(raw: Raw, about: ImagePixel) -> bool:
    """Whether stored values are signed. Where the header and the compressed image disagree, either may be wrong, and a
    film in the wrong reading is torn wherever it crosses the middle: the smoother one is taken, else the header's. The
    edge of padding counts for neither. No colours are below zero, whatever the header says."""
    if raw.kind in ("luminance", "RGB", "YBR"):
        return bool(raw.is_signed)
    if raw.is_signed in (None, about.is_signed):
        return about.is_signed
    sign = 1 << min(about.stored or raw.container, raw.container) - 1
    unsigned = raw.values.astype(np.int64) & (2 * sign - 1)
    is_shown = np.ones_like(unsigned, bool) if about.padding is None else unsigned != about.padding & (2 * sign - 1)
    plain, signed = (_roughness(values, is_shown) for values in (unsigned, unsigned ^ sign))
    return about.is_signed if max(plain, signed) <= 1.1 * min(plain, signed) else signed < plain


def stored_values(raw: Raw, about: ImagePixel) -> tuple[np.ndarray, int]:
    """The numbers in the stored bits of a raw image, and how many bits those are (PS3.5, 8.1.1).

    Devices err in all of it. So the bits are shifted only if they then are all of the image, and where many pixels need
    more than the stored bits, and no overlay lies there, more are stored than the header says. Compressed pixels were
    made by somebody who knew how many, so it is damage there. Where a few need more, they are too bright for the stored
    bits, or have other bits beside them (an overlay, damage): what leaves the image smoother is taken.

    Raises:
        ImageError: ``inconsistent``.
    """
    container, bits = raw.container, min(about.stored or raw.container, raw.container)
    values: np.ndarray = raw.values.astype(np.int64 if container > 16 else np.int32)
    values &= (1 << container) - 1
    unused = about.high_bit + 1 - bits
    if 0 < unused <= container - bits and (
        values.max() >> bits or not np.bitwise_or.reduce(values, axis=None) & ((1 << unused) - 1)
    ):
        values >>= unused
        values &= (1 << bits) - 1
    elif about.has_overlay and bits < container:
        values &= (1 << bits) - 1
    if bits == container:
        return values - ((values >> bits - 1) << bits) if about.is_signed else values, bits
    above = values >> bits  # nothing, or the sign carried on, where the stored bits are all there is
    if about.is_signed:
        is_beyond = (above != 0) & (above != (1 << container - bits) - 1)
        from_stored = (values & (1 << bits) - 1) - ((values >> bits - 1 & 1) << bits)
        values = np.where(is_beyond, values - ((values >> container - 1) << container), from_stored)
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    else:
        is_beyond, low, high = above != 0, 0, (1 << bits) - 1
    if np.count_nonzero(is_beyond) > CUT * values.size:
        if raw.is_compressed and not _is_padding(values[is_beyond], about, container):
            message = f"DICOM of Bits Stored {bits}, whose compressed image needs more: one of them is damaged"
            raise ImageError("inconsistent", message)
        return values, container
    clipped = np.clip(values, low, high)
    if not is_beyond.any():
        return clipped, bits
    cut = values & (1 << bits) - 1
    cut -= (cut >> bits - 1 << bits) if about.is_signed else 0
    is_shown = np.ones_like(is_beyond)
    return min((clipped, cut), key=lambda values: _roughness(values, is_shown)), bits


def _is_padding(values: np.ndarray, about: ImagePixel, container: int) -> bool:
    """Whether these are the padding value, which may be written as signed where the pixels are not, or the other way
    round."""
    return about.padding is not None and not ((values - about.padding) & (1 << container) - 1).any()


def _roughness(values: np.ndarray, is_shown: np.ndarray) -> int:
    """The sum of all steps between neighbours, both of which are shown."""
    down = np.abs(np.diff(values, axis=0)) * (is_shown[1:] & is_shown[:-1])
    across = np.abs(np.diff(values, axis=1)) * (is_shown[:, 1:] & is_shown[:, :-1])
    return int(down.sum() + across.sum())
