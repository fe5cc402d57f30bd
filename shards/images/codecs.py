"""Compressed pixels, in DICOM or by themselves, to samples as they were stored.

JPEG of 8 bits is decoded by libjpeg-turbo, strictly (:mod:`shards.images.jpeg`); deeper JPEG by GDCM, which carries on
over damage in silence, so libjpeg-turbo goes over the coded samples first: how they are coded does not depend on their
depth. JPEG-LS is decoded by CharLS, which is strict. JPEG 2000 is decoded by OpenJPEG: its arithmetic coder turns any
bits into some picture, so damage shows in the headers only. These three are imported where they are used, by few files.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shards.images import jpeg
from shards.images.codestream import Codestream, read_codestream, with_colors
from shards.images.refusal import ImageError

_ZEROS = bytes(8)  # more than fills up a fragment
_TERMINAL = threading.Lock()
_GDCM_SYNTAX = {"dct": "1.2.840.10008.1.2.4.51", "lossless": "1.2.840.10008.1.2.4.57"}


@dataclass(frozen=True, kw_only=True)
class Samples:
    """``values`` (H, W) or (H, W, 3) whole numbers of ``bits``; ``colors`` is what three samples are, or were before
    they were decoded to luminance (None: not said, or one sample). ``is_lossy`` is of JPEG's lossy kinds; ``is_signed``
    can be of JPEG 2000 only, as the others code no signs."""

    values: np.ndarray
    bits: int
    is_lossy: bool = False
    is_signed: bool = False
    colors: Literal["RGB", "YBR"] | None = None


def decode_stream(data: bytes, *, colors: Literal["RGB", "YBR"] | None = None) -> Samples:
    """Decodes one picture; ``colors`` says what three samples are where the stream does not.

    Lossy JPEG of 8 bits in colour comes as its luminance.

    Raises:
        ImageError: ``damaged``, ``unsupported``, ``too-large``, ``too-small``.
    """
    about = read_codestream(data)
    if about.bits > 16:
        raise ImageError("unsupported", f"compressed pixels of {about.bits} bits; at most 16 are read")
    if about.kind == "jpeg-2000":
        return _decode_jpeg_2000(data, about)
    if about.samples not in (1, 3, 4) or (about.samples == 4 and (about.kind != "dct" or about.bits > 8)):
        raise ImageError("unsupported", f"JPEG of {about.samples} samples a pixel and {about.bits} bits")
    if about.kind == "jpeg-ls":
        return _decode_jpeg_ls(data, about, colors)
    if about.samples == 3 and about.colors is None and colors is not None:
        data = with_colors(data, colors)
        about = read_codestream(data)
    said = about.colors if about.samples == 3 else None
    if about.kind == "lossless":
        values = jpeg.decode_samples(data) if about.bits <= 8 else _decode_deep(data, about)
        return Samples(values=values, bits=about.bits, colors=said)
    if about.bits > 8:
        said = said or ("YBR" if about.samples == 3 else None)  # as all decoders take what is not said
        return Samples(values=_decode_deep(data, about), bits=about.bits, is_lossy=True, colors=said)
    mode = "CMYK" if about.samples == 4 else "L"
    gray, _ = jpeg.decode_gray(data, width=about.width, height=about.height, scale=1.0, mode=mode)
    return Samples(values=gray, bits=8, is_lossy=True)


def _decode_deep(data: bytes, about: Codestream) -> np.ndarray:
    """Lossy JPEG of 12 bits, lossless JPEG of up to 16."""
    import gdcm  # type: ignore[import-untyped]

    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    as_8_bits = data[: about.precision_at] + b"\x08" + data[about.precision_at + 1 :]
    if about.kind == "lossless":
        jpeg.decode_samples(as_8_bits)
    else:
        jpeg.check_whole(as_8_bits, width=about.width, height=about.height)
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(data if jpeg.END in data[about.precision_at :] else data + jpeg.END)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((about.width, about.height, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.MONOCHROME2 if about.samples == 1 else gdcm.PhotometricInterpretation.RGB
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    syntax = gdcm.TransferSyntax.GetTSType(_GDCM_SYNTAX[about.kind])
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(gdcm.PixelFormat(about.samples, 16, about.bits, about.bits - 1, 0))
    try:
        with _without_noise() if about.kind == "dct" else contextlib.nullcontext():
            buffer = image.GetBuffer().encode("utf-8", "surrogateescape")  # GDCM gives bytes as text
        values = _shaped(np.frombuffer(buffer, dtype="<u2"), about)
    except (AttributeError, ValueError) as error:
        raise ImageError("damaged", "JPEG that is damaged inside: no pixels could be decoded") from error
    if values.max() >> about.bits:  # each pixel builds on the one before: from the damage on, all are shifted
        raise ImageError(
            "damaged", f"JPEG of {about.bits} bits, decoded to values that need more: it is damaged inside"
        )
    return values


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """GDCM tries its decoder of 8 bits first, which complains on the terminal."""
    with _TERMINAL, open(os.devnull, "wb") as nothing:
        kept = os.dup(2)
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _decode_jpeg_ls(data: bytes, about: Codestream, colors: Literal["RGB", "YBR"] | None) -> Samples:
    import jpeg_ls  # type: ignore[import-untyped]

    try:
        buffer, said = jpeg_ls.decode_pixel_data(data)
    except RuntimeError as error:
        raise ImageError("damaged", f"JPEG-LS: {error}") from error
    values = np.frombuffer(buffer, dtype=np.uint8 if about.bits <= 8 else "<u2")
    if about.samples > 1 and said["interleave_mode"] == 0:
        values = np.moveaxis(values.reshape(about.samples, about.height, about.width), 0, 2)
    return Samples(values=_shaped(values, about), bits=about.bits, colors=colors if about.samples > 1 else None)


def _decode_jpeg_2000(data: bytes, about: Codestream) -> Samples:
    import openjpeg.utils

    if data.endswith(_ZEROS) and not data.rstrip(b"\0").endswith(jpeg.END):
        raise ImageError("damaged", "JPEG 2000 that is cut: zeros stand where its end belongs")
    try:
        values = openjpeg.utils.decode(data)
    except (RuntimeError, ValueError) as error:
        raise ImageError("damaged", f"JPEG 2000: {error}") from error
    if values.shape[:2] != (about.height, about.width):
        raise ImageError("damaged", "JPEG 2000 whose pixels are not as many as its header says")
    if values.ndim == 3 and values.shape[2] < 3:
        values = values[:, :, 0]  # the second sample is transparency
    return Samples(values=values, bits=about.bits, is_signed=about.is_signed, colors="RGB" if about.is_mixed else None)


def _shaped(values: np.ndarray, about: Codestream) -> np.ndarray:
    shape = (about.height, about.width) if about.samples == 1 else (about.height, about.width, about.samples)
    return values.reshape(shape)
